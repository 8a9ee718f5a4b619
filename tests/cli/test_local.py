"""What `dimat-flwr local` makes of its words."""

import pytest
from typer.testing import CliRunner

from dimat_flwr.cli import app


@pytest.mark.parametrize("words", [["rounds", "rounds=1"], ["rounds=1", "rounds"], ["rounds"]])
def test_a_word_without_a_value_is_refused_whatever_stands_beside_it(words: list[str]) -> None:
    result = CliRunner().invoke(app, ["local", *words])
    assert result.exit_code == 1
    assert "override 'rounds' is not of the form key=value" in result.output
