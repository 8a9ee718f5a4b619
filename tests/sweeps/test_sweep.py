"""Whole sweeps of tiny runs, in processes as always."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.config import ConfigError
from dimat_flwr.records import RecordsError, load_summary
from dimat_flwr.sweeps import Definition, SweepError, expand, load_definition
from dimat_flwr.sweeps.cell_work import check
from dimat_flwr.sweeps.job import Checked, Job
from dimat_flwr.sweeps.record import Standing, alone
from dimat_flwr.sweeps.sweep import Asked, _require_data, run_sweep
from tests.gate import OPEN, GatedSgd, hand_out

ROOT = Path(__file__).parents[2]
TINY = [
    "dataset=breast_cancer",
    "model=mlp",
    "model.width=4",
    "algorithm=weight_averaging",
    "rounds=1",
    "training.pretrain_epochs=0",
    "training.local_steps=1",
    "batchnorm.samples=20",
    "evaluate.save_models=false",
    "peers=2",
]


def asked(*words, definition=None):
    definition = definition or load_definition("grid", find_conf_dir())
    return Asked("grid", definition, expand(definition, [*TINY, *words]), "the command", {})


def read(folder):
    return json.loads((folder / "sweep.json").read_text())


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept") / "sweep"
    said = io.StringIO()
    run_sweep(asked("seed=0,1"), folder, 1, 0, said)
    return folder, said.getvalue()


@pytest.fixture
def folder(swept, tmp_path):
    """Return a copy of it, which a test may go on with."""
    return Path(shutil.copytree(swept[0], tmp_path / "sweep"))


@pytest.mark.slow
def test_each_cell_is_an_ordinary_run(swept):
    folder, said = swept
    told = read(folder)
    assert told["axes"] == {"seed": [0, 1]}
    assert told["command"] == "the command"
    assert [cell["status"] for cell in told["cells"]] == ["completed"] * 2
    for seed, cell in enumerate(told["cells"]):
        run = folder / cell["folder"]
        summary = load_summary(run)
        assert summary["status"] == "completed"
        assert summary["seed"] == cell["values"]["seed"] == seed
        assert summary["peers"] == 2
        assert cell["seconds"] > 0
        assert f"seed={seed}" in summary["command"]
        assert {"config.yaml", "metrics.jsonl", "messages.csv", "report.html"} <= {path.name for path in run.iterdir()}
    assert "1/2 cells" in said
    assert "seed=1: " in said


@pytest.mark.slow
def test_a_larger_grid_runs_only_what_is_missing(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.glob("cells/*/summary.json")}
    said = io.StringIO()
    # Names and places are not what a cell is.
    run_sweep(asked("seed=0,1,2", "name=other", "evaluate.save_models=true"), folder, 1, 0, said)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [cell["status"] for cell in read(folder)["cells"]] == ["completed"] * 3
    assert said.getvalue().count("cells") == 1


@pytest.mark.slow
def test_runs_of_another_grid_stay_and_are_counted(folder):
    before = {path.name for path in (folder / "cells").iterdir()}
    record = run_sweep(asked("seed=0"), folder, 1, 0, io.StringIO())
    assert record.others() == len(before) - 1
    assert {path.name for path in (folder / "cells").iterdir()} == before


@pytest.mark.slow
def test_faults_are_told_before_anything_is_run(folder):
    before = read(folder)
    with pytest.raises(SweepError, match=r"(?s)optimizer\.lr=-1.*and 1 more: .*optimizer\.lr: Input should be"):
        run_sweep(asked("optimizer.lr=0.1,-1", "seed=5,6"), folder, 1, 0, io.StringIO())
    assert read(folder) == before


@pytest.mark.slow
def test_data_that_are_missing_are_told_before_anything_is_run(folder, tmp_path):
    before = read(folder)
    elsewhere = ["dataset=cifar10", "model=resnet20", f"data_dir={tmp_path}"]
    with pytest.raises(SweepError, match=r"nothing was begun.*\n.*CIFAR10 was not found"):
        run_sweep(asked("seed=5,6", *elsewhere), folder, 1, 0, io.StringIO())
    assert read(folder) == before


def test_what_is_finished_needs_no_data():
    standings = [Standing(cell, str(k), "completed") for k, cell in enumerate(asked("seed=0,1").grid.cells)]
    lacking = [Checked("0", "gone"), Checked("1", "gone")]
    _require_data(standings, lacking)
    standings[1].status = "failed"
    with pytest.raises(SweepError, match=r"gone$"):
        _require_data(standings, lacking)


def test_a_place_is_no_axis():
    with pytest.raises(ConfigError, match="data_dir cannot be an axis"):
        check(Job({"overrides": "data_dir=a"}, 2, "", ("data_dir",)))


def test_a_folder_is_one_sweeps_and_one_process_at_a_time(tmp_path):
    with alone(tmp_path, "grid"):
        (tmp_path / "sweep.json").write_text('{"name": "grid"}')
        with pytest.raises(SweepError, match="another process works on the sweep"), alone(tmp_path, "grid"):
            pass
    with pytest.raises(SweepError, match="holds the sweep 'grid', not 'table2'"), alone(tmp_path, "table2"):
        pass
    with alone(tmp_path, "grid"):
        pass


@pytest.mark.slow
def test_a_cell_that_fails_is_told_and_the_others_go_on(tmp_path):
    said = io.StringIO()
    # How many samples there are is not known before the data are read.
    record = run_sweep(asked("dataset.train_samples=9000,100", "seed=0"), tmp_path / "s", 1, 0, said)
    assert [standing.status for standing in record.standings] == ["failed", "completed"]
    assert "fewer than the 9000 asked for" in str(record.standings[0].reason)
    assert "failed: dataset.train_samples=9000: " in said.getvalue()
    definition = Definition("", {})
    assert read(tmp_path / "s")["paper"] == definition.paper


def _hear_interrupts() -> None:
    """Undo what a shell does to what it starts in the background: to ignore signals, as their children then do."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.slow
def test_a_sweep_that_was_ended_goes_on_where_it_was(tmp_path):
    """One sweep that is ended in every way there is, each time when it has finished a cell more and cannot go on."""
    folder, gate, cells = tmp_path / "sweep", tmp_path / "gate", 7
    gated = ["optimizer=sgd", f"optimizer._target_={GatedSgd.__module__}.GatedSgd", f"+optimizer.gate={gate}"]
    words = [*TINY, *gated, "rounds=3", f"seed=range(0,{cells})", "--folder", str(folder)]
    command = [sys.executable, "-m", "apps.sweep", "grid", *words, "--jobs"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before, trainings = {}, 4  # of two peers, after each round but the last

    def finished():
        found = {}
        for path in folder.glob("cells/*/summary.json"):
            with suppress(RecordsError):  # it was removed since: this cell is begun anew
                if load_summary(path.parent)["status"] == "completed":
                    found[path] = path.stat().st_mtime_ns
        return found

    # How it is ended -> what the process returns, and how many work for it, each of which takes seconds to start.
    ends = {signal.SIGINT: (130, 2), signal.SIGTERM: (143, 1), signal.SIGHUP: (129, 1), signal.SIGKILL: (-9, 2)}
    for how, (expected, jobs) in ends.items():
        # Of those who work, one gets to the end of a cell and nobody to that of another, whoever takes which pass.
        hand_out(gate, jobs * trainings - (jobs - 1))
        process = subprocess.Popen(
            [*command, str(jobs)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=_hear_interrupts,
        )  # fmt: skip
        deadline = time.monotonic() + 500
        while len(finished()) <= len(before) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(how)
        out, told = process.communicate(timeout=300)
        assert process.returncode == expected, told
        if how != signal.SIGKILL:
            assert b"the same command goes on" in out
            stands = sorted(cell["status"] for cell in read(folder)["cells"])
            assert stands == ["completed"] * (len(before) + 1) + ["pending"] * (cells - len(before) - 1)
        found = finished()
        assert len(found) == len(before) + 1
        assert before.items() <= found.items(), "what was finished is not touched"
        before = found
    hand_out(gate, 0)
    (gate / OPEN).touch()
    again = subprocess.run([*command, "1"], cwd=ROOT, env=environment, capture_output=True, check=True, timeout=600)
    assert f"{cells} of {cells} cells are finished".encode() in again.stdout
    assert before.items() <= finished().items()
    assert [cell["status"] for cell in read(folder)["cells"]] == ["completed"] * cells
