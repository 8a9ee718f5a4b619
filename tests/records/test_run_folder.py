"""What a run folder holds while the run goes, and that a run cut short leaves what it had."""

import csv
import importlib.metadata
import json
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import yaml

from dimat_flwr.records import RecordsError, RunFolder, load_summary

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path, "run", datetime(2026, 1, 1))


def lines(folder):
    return [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]


def test_events_are_on_disk_at_once_one_json_line_each_and_nan_is_null(folder):
    folder.event({"peer": 1, "round": 3, "event": "training", "loss": float("nan"), "seconds": np.float32(0.5)})
    assert lines(folder) == [
        {"event": "training", "round": 3, "peer": 1, "loss": None, "seconds": 0.5},
    ]
    merge = {"event": "merge", "peer": np.int64(0), "round": np.int64(4), "weights": np.array([0.5, np.inf])}
    folder.event(merge | {"neighbours": (1, 2), "note": "zwei\nZeilen ü", "moved": {"conv": {2, 1}}, "at": Path("/x")})
    assert len(lines(folder)) == 2
    assert lines(folder)[1] == {
        "event": "merge", "round": 4, "peer": 0, "weights": [0.5, None], "neighbours": [1, 2],
        "note": "zwei\nZeilen ü", "moved": {"conv": [1, 2]}, "at": "/x",
    }  # fmt: skip


@pytest.mark.parametrize("event", [{}, {"event": "merge"}, {"event": 3, "round": 1}, {"event": "merge", "round": "1"}])
def test_events_without_kind_or_round_are_refused(folder, event):
    with pytest.raises(RecordsError, match="needs 'event'"):
        folder.event(event)
    assert lines(folder) == []


def test_values_that_json_does_not_know_are_refused_by_their_place(folder):
    with pytest.raises(RecordsError, match=r"event merge\.stats\.units\[1\] is a object"):
        folder.event({"event": "merge", "round": 1, "stats": {"units": [1, object()]}})


def test_bytes_go_to_messages_csv_and_into_the_summary(folder):
    folder.edge_bytes(1, 0, 0, 1, 100)
    folder.edge_bytes(1, "cross, gradients", 1, 0, 50)
    folder.edge_bytes(2, 0, 0, 1, 7)
    with (folder.path / "messages.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["bytes"] for row in rows] == ["100", "50", "7"]
    assert rows[1] == {"round": "1", "phase": "cross, gradients", "source": "1", "target": "0", "bytes": "50"}
    summary = folder.write_summary({"status": "completed"})
    assert summary["bytes_total"] == 157
    assert [(r["round"], r["bytes"], r["peers"]) for r in summary["rounds"]] == [(1, 150, 0), (2, 7, 0)]


def test_config_is_yaml_below_the_command_that_made_it(folder):
    command = "flwr run . --stream \\\n  -c \"algorithm='dimat' seed=3\""
    folder.write_config("seed: 3\nalgorithm:\n  local_epochs: 2\n", command)
    text = (folder.path / "config.yaml").read_text()
    assert yaml.safe_load(text) == {"seed": 3, "algorithm": {"local_epochs": 2}}
    for line in command.splitlines():
        assert f"#   {line}\n" in text
    assert folder.write_summary({"status": "running"})["command"] == command


def test_the_summary_is_replaced_whole_after_every_round(folder):
    for r in (1, 2):
        for peer in (0, 1):
            folder.event({"event": "evaluation", "peer": peer, "round": r, "stage": "after_merge", "accuracy": 90 + r})
        folder.write_summary({"status": "running", "seed": 5, "algorithm": "dimat"})
        on_disk = load_summary(folder.path)
        assert on_disk["status"] == "running"
        assert [entry["accuracy_after_merge"] for entry in on_disk["rounds"]] == [91, 92][:r]
    failed = folder.write_summary({"status": "failed", "reason": "all peers are gone", "seed": 5})
    assert load_summary(folder.path) == failed
    assert (failed["reason"], failed["final_accuracy"], failed["seed"]) == ("all peers are gone", 92, 5)
    assert failed["wall_seconds"] >= 0
    assert failed["versions"]["flwr"] == importlib.metadata.version("flwr")
    assert failed["versions"]["torch"] == importlib.metadata.version("torch")
    assert failed["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert not list(folder.path.glob(".*"))  # nothing half-written is left


def test_a_summary_that_cannot_be_written_leaves_the_old_one(folder):
    folder.write_summary({"status": "running"})
    before = (folder.path / "summary.json").read_text()
    (folder.path / ".summary.json.new").mkdir()  # in the way of the new one
    with pytest.raises(RecordsError, match=r"cannot write .*summary\.json: Is a directory"):
        folder.write_summary({"status": "completed"})
    assert (folder.path / "summary.json").read_text() == before


def test_a_folder_that_vanished_is_named(folder):
    shutil.rmtree(folder.path)
    for write in (
        lambda: folder.event({"event": "merge", "round": 1}),
        lambda: folder.edge_bytes(1, 0, 0, 1, 2),
        lambda: folder.write_config("a: 1", "flwr run ."),
        lambda: folder.write_summary({"status": "running"}),
    ):
        with pytest.raises(RecordsError, match=f"cannot write {folder.path}.*No such file"):
            write()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "needs a status"),
        ({"status": "done"}, "running, completed, failed, not 'done'"),
        ({"status": "failed"}, "if and only if"),
        ({"status": "completed", "reason": "why"}, "if and only if"),
        ({"status": "running", "rounds": 10, "bytes_total": 1}, "computed figures: bytes_total, rounds"),
    ],
)
def test_facts_that_contradict_are_refused(folder, facts, message):
    with pytest.raises(RecordsError, match=message):
        folder.write_summary(facts)
    assert not (folder.path / "summary.json").exists()


@pytest.mark.parametrize("text", [None, "{", "[]", '{"status": "running"}'])
def test_loading_what_is_no_summary_names_the_file(tmp_path, text):
    if text is not None:
        (tmp_path / "summary.json").write_text(text)
    with pytest.raises(RecordsError, match=r"summary\.json.*give the folder of a run"):
        load_summary(tmp_path)


def test_a_killed_process_leaves_its_events_and_last_summary(tmp_path):
    code = (
        "import os, sys, datetime\nfrom dimat_flwr.records import RunFolder\n"
        "folder = RunFolder.create(sys.argv[1], 'run', datetime.datetime(2026, 1, 1))\n"
        "folder.event({'event': 'evaluation', 'peer': 0, 'round': 1, 'stage': 'after_training', 'accuracy': 50.0})\n"
        "folder.write_summary({'status': 'running'})\n"
        "folder.event({'event': 'failure', 'peer': 0, 'round': 2, 'phase': 0, 'error': 'lost'})\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False).returncode == 9
    path = tmp_path / "2026-01-01_000000-run"
    assert [json.loads(line)["event"] for line in (path / "metrics.jsonl").open()] == ["evaluation", "failure"]
    assert load_summary(path)["final_accuracy"] == 50.0


def test_drawing_does_not_import_torch_or_a_screen(tmp_path):
    code = (
        "import sys, datetime\nfrom dimat_flwr.records import RunFolder\n"
        "folder = RunFolder.create(sys.argv[1], 'run', datetime.datetime(2026, 1, 1))\n"
        "folder.write_summary({'status': 'running'})\nfolder.plots()\n"
        "assert 'torch' not in sys.modules and 'matplotlib' in sys.modules\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True)
