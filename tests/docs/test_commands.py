"""Every command that the documentation gives, parsed by those who would run it, and the facts that it states."""

import csv
import importlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from dimat_flwr.config import GROUPS, load_config
from dimat_flwr.config.choice import build_choice
from tests.docs.laying_out import laying_out
from tests.docs.markdown import ROOT, blocks, commands, read, section, shown_files

DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{page}.md" for page in ("architecture", "merging", "robustness", "final_merge", "algorithms")),
    *(f"docs/{page}.md" for page in ("privacy", "deployment")),
]
CONF = ROOT / "conf"
RUN_CONFIG = tomllib.loads(read("pyproject.toml"))["tool"]["flwr"]["app"]["config"]
COMMANDS = [words for document in DOCUMENTS[:2] for words in commands(read(document))]


@pytest.fixture(scope="module")
def conf_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for all tests here, so that what is composed from it is composed once."""
    return Path(shutil.copytree(CONF, tmp_path_factory.mktemp("commands") / "conf"))


@pytest.fixture(scope="module")
def examples(conf_dir: Path) -> Iterator[None]:
    """Lay out all that CONTRIBUTING.md shows."""
    with laying_out(conf_dir.parent) as write:
        write(shown_files(read("CONTRIBUTING.md")))
        yield


def test_there_are_commands() -> None:
    assert sum(words[:2] == ["flwr", "run"] for words in COMMANDS) >= 6
    assert {words[1] for words in COMMANDS if words[0] == "dimat-flwr"} == {
        "algorithms", "compare", "keys", "local", "merge", "merge-lora", "report", "spec", "status", "sweep",
        "topology", "verify",
    }  # fmt: skip


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] == "flwr"], ids=" ".join)
def test_flwr_run_takes_the_command(words: list[str], conf_dir: Path) -> None:
    from flwr.cli.app import app
    from flwr.common.config import parse_config_args

    given = _parsed(app, words[1:])
    accepted(parse_config_args(list(given["run_config_overrides"])), conf_dir)


def test_inline_run_configs_are_accepted() -> None:
    found = [
        text
        for document in DOCUMENTS
        for text in re.findall(r'-c "([^"]*)"', read(document).replace("\\\n", ""))
        if "..." not in text
    ]
    from flwr.common.config import parse_config_args

    assert len(found) >= 5
    for text in found:
        accepted(parse_config_args([text]), CONF)


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize("words", [words for words in COMMANDS if words[:2] == ["dimat-flwr", "local"]], ids=" ".join)
def test_dimat_flwr_local_takes_the_command(words: list[str], conf_dir: Path, started: Any) -> None:
    peers, run_config = started(words)
    assert peers >= 2
    accepted(run_config, conf_dir)


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0] == "dimat-flwr" and w[1] != "local"], ids=" ".join)
def test_dimat_flwr_takes_the_command(words: list[str], conf_dir: Path) -> None:
    from dimat_flwr.cli import app
    from dimat_flwr.sweeps import expand, load_definition
    from dimat_flwr.topology import Topology

    given = _parsed(app, words[1:])
    if words[1] == "topology":
        topology = build_choice("topology", given["name"], given["settings"] or [], conf_dir, Topology)
        assert topology.mixing(given["peers"], 0, 0).edges
    if words[1] == "sweep":
        settings = [word for word in given["settings"] or [] if not word.startswith("data-dir=")]
        assert expand(load_definition(given["name"], conf_dir), settings).cells
    for key in ("model", "path"):
        if key in given and isinstance(given[key], str):
            module, name = given[key].rsplit(".", 1)
            assert hasattr(importlib.import_module(module), name)


def accepted(run_config: dict[str, Any], conf_dir: Path) -> None:
    """Assert that Flower would let these keys through and that they make a configuration."""
    assert run_config.keys() <= RUN_CONFIG.keys()
    config = load_config({**RUN_CONFIG, **run_config}, {}, conf_dir)
    for group in GROUPS:
        if run_config.get(group):
            assert config.choices[group] == run_config[group]


def _parsed(app: typer.Typer, words: list[str]) -> dict[str, Any]:
    """Return what a command line application makes of a command, without running it."""
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)
    return group.commands[words[0]].make_context(words[0], list(words[1:])).params


def test_the_test_command_is_what_a_fresh_clone_runs() -> None:
    text = read("README.md")
    script = read(".ci/run")
    assert "'/<!-- test command -->/,/^```$/p' README.md | grep '^python -m pip install'" in script
    after = text.split("<!-- test command -->")[1].split("```")[1]
    lines = [line for line in after.splitlines() if line.startswith("python -m pip install")]
    assert len(lines) == 1
    assert all(step in lines[0] for step in ("ruff check .", "ruff format --check .", "mypy", "python -m pytest"))


def test_the_readme_names_every_key_and_choice() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", section(read("README.md"), "Change one thing"), re.MULTILINE)
    assert [key for key, _ in rows] == list(RUN_CONFIG)
    defaults = load_config({}, {}, CONF).choices
    for key, told in rows:
        if (CONF / key).is_dir():
            named = set(re.findall(r"`(\w+)`", told)) & {path.stem for path in (CONF / key).glob("*")}
            assert named == {path.stem for path in (CONF / key).glob("*.yaml")}, key
            if key in defaults:
                assert told.startswith(f"`{defaults[key]}`")


def test_the_readme_shows_an_algorithm_as_it_is() -> None:
    (shown,) = blocks(section(read("README.md"), "Add an algorithm"), "python")
    assert shown in read("dimat_flwr/algorithms/weight_averaging.py")


def test_the_readme_s_merge_engine_has_these_names() -> None:
    (shown,) = blocks(section(read("README.md"), "The merge engine by itself"), "python")
    import torch
    from torch import nn

    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval() for _ in range(2)]
    names: dict[str, Any] = {
        "model": nets[0], "example_input": torch.zeros(2, 4), "batches": [torch.randn(50, 4) for _ in range(2)],
        "mine": nets[0].state_dict(), "theirs": nets[1].state_dict(),
    }  # fmt: skip
    exec(compile(shown, "README.md", "exec"), names)
    assert len(names["spec"].groups) == 1
    aligned = names["spec"].apply(names["theirs"], names["p"])
    for name in ("0.weight", "3.weight"):
        expected = (names["mine"][name] + aligned[name]) / 2
        torch.testing.assert_close(names["merged"][name], expected)


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_links_and_paths_lead_somewhere(document: str) -> None:
    text = read(document)
    for target in re.findall(r"\]\((?!https?:)([^)#]*)(?:#[\w-]*)?\)", text):
        assert ((ROOT / document).parent / target).exists(), target
    new = {*shown_files(text)}
    for path in re.findall(r"`((?:dimat_flwr|conf|docs|tests|apps|benchmarks)(?:/[\w./-]+)+)`", text):
        assert path in new or (ROOT / path).exists(), path


def test_the_table_of_algorithms_is_that_of_the_results() -> None:
    with (ROOT / "results" / "algorithms.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    tables = re.split(r"^## ", read("docs/algorithms.md"), flags=re.MULTILINE)
    assert {row["algorithm"] for row in rows} == {path.stem for path in (CONF / "algorithm").glob("*.yaml")}
    for row in rows:
        table = next(text for text in tables if f"`partition={row['partition']}`" in text.split("\n")[0])
        line = next(line for line in table.splitlines() if line.startswith(f"| `{row['algorithm']}`"))
        column = 2 if row["topology"] == "ring" else 5
        figure = f"{float(row['accuracy']):.1f} ± {float(row['deviation']):.1f}"
        assert line.split("|")[column].strip() == figure


def test_the_table_of_privacy_is_that_of_the_results() -> None:
    with (ROOT / "results" / "privacy.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [line for line in read("docs/privacy.md").splitlines() if re.match(r"\| \d", line)]
    assert {line.split("|")[1].strip() for line in lines} == {row["noise_multiplier"] for row in rows}
    for line in lines:
        noise, epsilon, *accuracies = (cell.strip() for cell in line.split("|")[1:-1])
        mine = [row for row in rows if row["noise_multiplier"] == noise]
        assert epsilon == (f"{max(float(row['epsilon']) for row in mine):.2f}" if float(noise) else "none")
        for algorithm, told in zip(("weight_averaging", "local_only"), accuracies, strict=True):
            found = [float(row["accuracy"]) for row in mine if row["algorithm"] == algorithm]
            assert told == f"{statistics.mean(found):.1f} ± {statistics.stdev(found):.1f}"


def test_anchors_lead_to_headings() -> None:
    for document in DOCUMENTS:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([\w-]+)\)", read(document)):
            headings = re.findall(r"^#+ (.*)$", (ROOT / document).parent.joinpath(target).read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert anchor in slugs


def test_the_architecture_names_every_room() -> None:
    table = section(read("docs/architecture.md"), "Rooms")
    named = set(re.findall(r"`dimat_flwr/([\w.]+)`", table))
    rooms = {path.name for path in (ROOT / "dimat_flwr").iterdir() if (path / "__init__.py").is_file()}
    assert rooms <= named


def test_the_architecture_shows_an_instruction_and_an_event_as_they_are() -> None:
    from flwr.app import ConfigRecord

    from dimat_flwr.events import Evaluation, Stamped
    from dimat_flwr.wire.instruction import read_instruction

    instruction, event = blocks(read("docs/architecture.md"), "json")
    found = read_instruction(ConfigRecord({"json": instruction}))
    assert json.loads(str(found.to_record()["json"])) == json.loads(instruction)
    stamped = Stamped.from_line(event.encode())
    assert isinstance(stamped.event, Evaluation)
    assert stamped.to_line() == json.loads(event)


def test_the_architecture_names_every_event_and_status() -> None:
    from typing import get_args

    from dimat_flwr.events import Event
    from dimat_flwr.records.summary import Status

    text = read("docs/architecture.md")
    assert all(f"`{kind.__name__}`" in text for kind in get_args(Event))
    assert all(f"`{status}`" in text for status in get_args(Status))
    assert all(f"`{status}`" in read("README.md") for status in get_args(Status))


@pytest.mark.parametrize("name", [n for n in shown_files(read("CONTRIBUTING.md")) if n.endswith(".py")])
def test_the_examples_are_in_the_style_of_the_house(name: str) -> None:
    content = shown_files(read("CONTRIBUTING.md"))[name]
    for arguments in (["check"], ["format", "--check", "--diff"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "--stdin-filename", name, "-"]
        done = subprocess.run(command, cwd=ROOT, input=content, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_hooks_are_the_checks_of_the_test_command() -> None:
    from omegaconf import OmegaConf

    hooks: Any = OmegaConf.to_container(OmegaConf.load(ROOT / ".pre-commit-config.yaml"))
    assert [repository["repo"] for repository in hooks["repos"]] == ["local"]
    (repository,) = hooks["repos"]
    assert [hook["entry"].split()[:2] for hook in repository["hooks"]] == [
        ["ruff", "check"], ["ruff", "format"], ["mypy"],
    ]  # fmt: skip
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
