"""What `dimat-flwr local` makes of its words."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dimat_flwr.cli import app
from dimat_flwr.records import load_summary
from dimat_flwr.records.headline import final_line


@pytest.mark.parametrize("words", [["rounds", "rounds=1"], ["rounds=1", "rounds"], ["rounds"]])
def test_a_word_without_a_value_is_refused_whatever_stands_beside_it(words: list[str]) -> None:
    result = CliRunner().invoke(app, ["local", *words])
    assert result.exit_code == 1
    assert "override 'rounds' is not of the form key=value" in result.output


def test_who_stops_a_run_is_told_where_it_is_and_its_record_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dimat_flwr.relay.session._relay", interrupted)
    result = CliRunner().invoke(app, ["local", f"output-dir={tmp_path}"])
    assert result.exit_code == 130
    (folder,) = tmp_path.iterdir()
    assert f"stopped; what there was until then: {folder}" in result.output
    summary = load_summary(folder)
    assert (summary["status"], summary["reason"]) == ("failed", "stopped by Ctrl-C")


def test_a_run_ends_with_what_it_came_to_and_where_it_is(tmp_path: Path) -> None:
    words = "dataset=breast_cancer model=mlp algorithm=weight_averaging training.pretrain_epochs=1 rounds=1 seed=3"
    result = CliRunner().invoke(app, ["local", "-n", "2", *words.split(), f"output-dir={tmp_path}"])
    (folder,) = tmp_path.iterdir()
    lines = result.output.splitlines()
    assert lines[0].startswith("algorithm: weight_averaging  topology: ring  schedule: always  dataset: breast_cancer ")
    assert lines[0].endswith("rounds: 1  seed: 3")
    assert lines[-2] == f"completed: {final_line(load_summary(folder))}"
    assert lines[-2].startswith("completed: final accuracy ")
    assert lines[-1] == f"results: {folder}"
