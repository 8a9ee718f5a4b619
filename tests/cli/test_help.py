"""What `--help` says: of every argument, whole, at any width."""

import re

import click
import pytest
import typer
from typer.testing import CliRunner

from dimat_flwr.cli import app

COMMAND = typer.main.get_command(app)


def _commands(group: click.Command, *words: str) -> list[tuple[str, ...]]:
    if not isinstance(group, click.Group):
        return [words]
    return [found for name, command in group.commands.items() for found in _commands(command, *words, name)]


@pytest.mark.parametrize("words", _commands(COMMAND), ids=" ".join)
@pytest.mark.parametrize("columns", ["60", "80"])
def test_every_argument_is_explained_and_nothing_cut_off(words: tuple[str, ...], columns: str) -> None:
    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": columns})
    assert result.exit_code == 0
    usage, told = re.split(r"\n\s*\n", result.output.strip(), maxsplit=1)
    text = told.split("\u256d")[0]
    arguments = re.findall(r"([A-Z]+(?:=[A-Z]+)?)\]?(?:\.\.\.)?", usage.partition("[OPTIONS]")[2])
    assert all(argument in text for argument in arguments), (arguments, text)
    if columns == "80":
        assert "\u2026" not in result.output
