"""What a run folder holds while the run goes, and that a run cut short leaves what it had."""

import csv
import importlib.metadata
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from dimat_flwr.events import Evaluation, Failure, Final, Late, Note, Stamped, Training
from dimat_flwr.records import RecordsError, RunFolder, files, load_summary, replay, run_folder

ROOT = Path(__file__).parents[2]
FINAL = Final(90.0, None, None, "models/peer-0.safetensors", "0f" * 32, 5)


@pytest.fixture
def drawn_folder(tmp_path):
    return RunFolder.create(tmp_path, "run", datetime(2026, 1, 1))


@pytest.fixture
def folder(drawn_folder, undrawn):
    return drawn_folder


def lines(folder):
    return [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def begun(monkeypatch):
    """Return when the folders of a test begin; for them it stays so, however slow the machine is."""
    began = time.monotonic()
    monkeypatch.setattr(run_folder, "time", SimpleNamespace(monotonic=lambda: began))
    return began


def later(seconds):
    return time.monotonic() + seconds


def test_events_are_one_json_line_each(folder):
    folder.event(Stamped(Training(float("nan"), 30, 3, 0.5), 3, 1, "merge"))
    folder.event(Stamped(Note("consensus", {"note": "zwei\nZeilen ü", "curve": [0.5, float("inf")]}), 4, 0, "merge"))
    folder.heartbeat(later(2))
    assert lines(folder) == [
        {"event": "training", "round": 3, "peer": 1, "exchange": "merge",
         "loss": None, "samples": 30, "steps": 3, "seconds": 0.5},
        {"event": "note", "round": 4, "peer": 0, "exchange": "merge",
         "name": "consensus", "values": {"note": "zwei\nZeilen ü", "curve": [0.5, None]}},
    ]  # fmt: skip


def test_a_failure_is_on_disk_at_once_and_all_that_came_before_it(folder):
    folder.event(Stamped(Late(1), 1, 0, "merge"))
    folder.edge_bytes(1, "merge", 0, 1, 100)
    folder.event(Stamped(Failure("lost"), 1, 2, "merge"))
    assert [line["event"] for line in lines(folder)] == ["late", "failure"]
    assert (folder.path / "messages.csv").read_text().endswith("\n1,merge,0,1,100\n")


def test_a_burst_does_not_wait_in_memory_for_ever(folder):
    for number in range(20_000):
        folder.edge_bytes(number, "merge", 0, 1, 100)
    assert (folder.path / "messages.csv").stat().st_size > 200_000  # without any heartbeat


def test_bytes_go_to_messages_csv_and_into_the_summary(folder):
    folder.edge_bytes(1, "merge", 0, 1, 100)
    folder.edge_bytes(1, 'cross, "gradients"', 1, 0, 50)
    folder.edge_bytes(2, "merge", 0, 1, 7)
    summary = folder.finish("completed")
    with (folder.path / "messages.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["bytes"] for row in rows] == ["100", "50", "7"]
    assert rows[1] == {"round": "1", "exchange": 'cross, "gradients"', "source": "1", "reader": "0", "bytes": "50"}
    assert summary["bytes_total"] == 157
    assert [(r["round"], r["bytes"], r["peers"]) for r in summary["rounds"]] == [(1, 150, 0), (2, 7, 0)]


def test_config_is_yaml_below_the_command_that_made_it(folder):
    command = "flwr run . --stream \\\n  -c \"algorithm='dimat' seed=3\""
    folder.write_config("seed: 3\nalgorithm:\n  local_epochs: 2\n", command)
    text = (folder.path / "config.yaml").read_text()
    assert yaml.safe_load(text) == {"seed": 3, "algorithm": {"local_epochs": 2}}
    for line in command.splitlines():
        assert f"#   {line}\n" in text
    assert folder.summary()["command"] == command


def test_facts_add_up_and_are_on_disk_at_once(folder):
    folder.describe({"algorithm": "dimat", "seed": np.int64(5), "where": Path("/x")})
    folder.describe({"peers": 3, "edges": [[0, 1, np.float32(0.5)]]})
    summary = load_summary(folder.path)
    assert [summary[key] for key in ("algorithm", "seed", "where", "peers", "edges", "topology")] == [
        "dimat", 5, "/x", 3, [[0, 1, 0.5]], None,
    ]  # fmt: skip
    assert summary["versions"]["flwr"] == importlib.metadata.version("flwr")
    assert summary["versions"]["torch"] == importlib.metadata.version("torch")


@pytest.mark.parametrize("name", ["status", "rounds", "final_accuracy", "heartbeat"])
def test_facts_do_not_pass_for_figures(folder, name):
    with pytest.raises(RecordsError, match=f"computed figures: {name}; rename them"):
        folder.describe({name: 1})
    folder.describe({"peers": 3})  # and do not stay


def test_facts_that_json_does_not_know_are_refused_by_their_place(folder):
    with pytest.raises(RecordsError, match=r"summary\.stats\.units\[1\] is a object"):
        folder.describe({"stats": {"units": [1, object()]}})


def test_a_run_that_is_killed_while_it_waits_for_peers_already_has_a_summary(folder):
    summary = load_summary(folder.path)
    assert (summary["status"], summary["rounds"], summary["final_accuracy"]) == ("running", [], None)


def test_the_heartbeat_brings_the_summary_up_to_date_but_not_at_every_call(begun, folder):
    folder.heartbeat(begun)
    for number in range(1, 4):
        folder.event(Stamped(Evaluation("after_merge", 90.0 + number), number, 0, "merge"))
        folder.heartbeat(begun + 0.5)
        assert load_summary(folder.path)["rounds"] == []
    folder.heartbeat(begun + 60)
    on_disk = load_summary(folder.path)
    assert on_disk["status"] == "running"
    assert [entry["accuracy_after_merge"] for entry in on_disk["rounds"]] == [91, 92, 93]
    assert not list(folder.path.glob(".*"))  # nothing half-written is left


def test_a_run_whose_writer_is_seen_at_work_is_running_however_silent_it_is(folder):
    assert load_summary(folder.path, datetime.now(UTC) + timedelta(days=1))["status"] == "running"


def elsewhere(path):
    """Make a summary look as if another machine wrote it."""
    summary = json.loads((path / "summary.json").read_text())
    (path / "summary.json").write_text(json.dumps(summary | {"writer": {"host": "elsewhere", "process": 1}}))


def test_a_run_that_says_running_without_a_sign_of_life_was_interrupted(folder):
    begun = datetime.fromisoformat(load_summary(folder.path)["heartbeat"])
    elsewhere(folder.path)
    assert load_summary(folder.path, begun + timedelta(seconds=30))["status"] == "running"
    found = load_summary(folder.path, begun + timedelta(seconds=90))
    assert found["status"] == "interrupted"
    assert "no sign of life since" in found["reason"]
    folder.finish("completed")
    assert load_summary(folder.path, begun + timedelta(days=900))["status"] == "completed"


def test_a_finished_run_says_how_it_ended(drawn_folder):
    folder = drawn_folder
    folder.event(Stamped(FINAL, 1, 0, "merge"))
    summary = folder.finish("completed")
    assert load_summary(folder.path) == summary
    assert (summary["status"], summary["reason"], summary["final_accuracy"]) == ("completed", None, 90.0)
    assert {path.name for path in folder.path.iterdir()} == {
        "metrics.jsonl", "messages.csv", "summary.json", "timeline.csv", "accuracy.png", "topology.png", "report.html",
    }  # fmt: skip


def test_a_run_that_lost_peers_is_never_completed(folder):
    folder.describe({"peers": 4})
    folder.event(Stamped(Failure("gone"), 3, 1, "merge"))
    folder.event(Stamped(Failure("gone"), 5, 2, "merge"))
    folder.event(Stamped(FINAL, 9, 0, "merge"))
    summary = folder.finish("completed")
    assert summary["status"] == "incomplete"
    assert summary["reason"] == "2 of 4 peers were lost (peer 1 in round 3, peer 2 in round 5)"
    assert summary["lost_peers"] == {"1": 3, "2": 5}
    assert summary["final_peers"] == {"reported": 1, "of": 4}


def test_a_run_whose_survivors_fell_apart_says_into_what(folder):
    folder.describe({"peers": 5})
    folder.event(Stamped(Failure("gone"), 2, 2, "merge"))
    summary = folder.finish("completed", parts=[[1, 0], [3, 4]])
    assert summary["parts"] == [[0, 1], [3, 4]]
    assert "1 of 5 peers was lost (peer 2 in round 2); the peers left fell into 2 parts" in summary["reason"]
    assert folder.finish("completed", parts=[[0, 1, 3, 4]])["parts"] is None


@pytest.mark.parametrize(("status", "reason"), [("failed", None), ("incomplete", None), ("completed", "why")])
def test_only_what_did_not_end_well_has_a_reason(folder, status, reason):
    with pytest.raises(RecordsError, match="it has a reason why not"):
        folder.finish(status, reason)


def test_the_first_training_is_timed(folder):
    folder.event(Stamped(Evaluation("after_training", 1.0), 0, 0, "start"))
    assert folder.summary()["first_training_seconds"] is None
    folder.event(Stamped(Training(0.1, 1, 1, 0.1), 0, 0, "start"))
    first = folder.summary()["first_training_seconds"]
    assert first is not None
    folder.event(Stamped(Training(0.1, 1, 1, 0.1), 1, 0, "merge"))
    assert folder.summary()["first_training_seconds"] == first


def test_a_summary_that_cannot_be_written_leaves_the_old_one(folder):
    before = (folder.path / "summary.json").read_text()
    (folder.path / ".summary.json.new").mkdir()  # in the way of the new one
    with pytest.raises(RecordsError, match=r"cannot write .*summary\.json: Is a directory"):
        folder.describe({"peers": 3})
    assert (folder.path / "summary.json").read_text() == before


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: folder.event(Stamped(Failure("x"), 1, 0, "merge")),
        lambda folder: folder.write_config("a: 1", "flwr run ."),
        lambda folder: folder.describe({"peers": 1}),
        lambda folder: folder.heartbeat(later(60)),
        lambda folder: folder.finish("completed"),
    ],
)
def test_a_folder_that_vanished_is_named(folder, write):
    shutil.rmtree(folder.path)
    with pytest.raises(RecordsError, match=f"cannot write {folder.path}.*No such file"):
        write(folder)


def test_a_full_disk_is_one_error_and_what_was_written_stays_readable(folder):
    folder.describe({"peers": 5})
    for peer in range(5):
        folder.event(Stamped(Evaluation("after_merge", 80.0), 1, peer, "merge"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # the system then refuses to write a larger file
    try:
        faults = []
        for number in range(20_000):
            try:
                folder.event(Stamped(Note("x", {"text": "y" * 200}), 2 + number % 5, number % 5, "merge"))
            except RecordsError as error:
                faults.append(error)
        assert len(faults) > 100
        assert len({id(fault) for fault in faults}) == 1  # the same one, however often it is tried
        assert "metrics.jsonl: File too large; is the disk full" in str(faults[0])
        folder.finish("failed", f"{faults[0]}")  # does not raise: the first error said it
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (folder.path / "metrics.jsonl").stat().st_size == 200_000
    found = replay(folder.path)
    assert (found["status"], found["unread_lines"]) == ("failed", 1)  # half of the last line
    assert found["rounds"][0]["accuracy_after_merge"] == 80.0


@pytest.fixture
def disk(monkeypatch):
    """A disk of so many bytes, for one run's folder, that refuses what goes beyond."""
    limit = {}
    write = files.replace_file

    def refusing(path, data, **options):
        used = sum(file.stat().st_size for file in path.parent.iterdir())
        if limit and used + len(data) > limit["bytes"]:
            raise files.unwritten(path, OSError(28, "No space left on device"))
        write(path, data, **options)

    monkeypatch.setattr(run_folder, "replace_file", refusing)
    return limit


def test_on_a_full_disk_the_report_makes_room_for_how_the_run_ended(folder, disk):
    (folder.path / "report.html").write_bytes(b"x" * 50_000)
    disk["bytes"] = 50_000
    with pytest.raises(RecordsError, match="No space left"):
        folder.heartbeat(later(60))
    folder.finish("failed", "RecordsError: the disk is full")
    found = load_summary(folder.path)
    assert (found["status"], found["reason"]) == ("failed", "RecordsError: the disk is full")


def test_a_disk_that_fills_up_at_the_very_end_is_why_the_run_failed(folder, disk):
    (folder.path / "report.html").write_bytes(b"x" * 50_000)
    disk["bytes"] = 50_000
    with pytest.raises(RecordsError, match="No space left"):
        folder.finish("completed")
    found = load_summary(folder.path)
    assert found["status"] == "failed"
    assert "No space left on device" in found["reason"]


def test_half_a_new_file_does_not_stay(tmp_path, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RecordsError, match="No space left"):
        files.replace_file(tmp_path / "summary.json", b"x" * 1000, durable=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", [None, "{", "[]", '{"status": "running"}', '{"status": 1, "rounds": [], "heartbeat": 3}']
)
def test_loading_what_is_no_summary_names_the_file(tmp_path, text):
    if text is not None:
        (tmp_path / "summary.json").write_text(text)
    if text and "heartbeat" in text:
        text = text.replace("1", '"running"')
        (tmp_path / "summary.json").write_text(text)
    with pytest.raises(RecordsError, match=r"summary\.json"):
        load_summary(tmp_path)


def test_a_killed_process_leaves_its_events_and_last_summary(tmp_path):
    code = (
        "import os, sys, time, datetime\nfrom dimat_flwr.records import RunFolder\n"
        "from dimat_flwr.events import Evaluation, Late, Stamped\n"
        "folder = RunFolder.create(sys.argv[1], 'run', datetime.datetime(2026, 1, 1))\n"
        "folder.event(Stamped(Evaluation('after_training', 50.0), 1, 0, 'merge'))\n"
        "folder.heartbeat(time.monotonic() + 10)\n"
        "folder.event(Stamped(Late(1), 2, 0, 'merge'))\n"
        "assert not {'torch', 'matplotlib', 'networkx'} & sys.modules.keys()\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False).returncode == 9
    path = tmp_path / "2026-01-01_000000-run"
    assert json.loads((path / "metrics.jsonl").read_text().splitlines()[0])["event"] == "evaluation"
    assert load_summary(path)["last_accuracy"]["accuracy"] == 50.0
    assert load_summary(path)["status"] == "interrupted", "its writer is seen to be gone"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_a_killed_writer_that_nobody_has_buried_does_not_live(folder):
    """What `flwr stop`, SIGTERM and kill -9 leave of a simulation: its SuperLink never waits for it."""
    killed = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    summary = json.loads((folder.path / "summary.json").read_text())
    writer = summary["writer"] | {"process": killed.pid, "began": None}
    (folder.path / "summary.json").write_text(json.dumps(summary | {"writer": writer}))
    assert load_summary(folder.path)["status"] == "running"
    killed.kill()
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # it has ended and stays a zombie
    assert load_summary(folder.path)["status"] == "interrupted"
    killed.wait()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_another_process_with_the_writers_number_is_not_the_writer(folder):
    summary = json.loads((folder.path / "summary.json").read_text())
    other = summary["writer"] | {"began": summary["writer"]["began"] - 1}
    (folder.path / "summary.json").write_text(json.dumps(summary | {"writer": other}))
    assert load_summary(folder.path)["status"] == "interrupted"


def test_a_report_is_drawn_while_the_run_goes_and_not_too_often(begun, drawn_folder):
    folder = drawn_folder
    folder.describe({"peers": 2, "edges": [[0, 1, 0.5], [1, 0, 0.5]]})
    folder.refresh_report(begun + 1)
    assert not (folder.path / "report.html").exists()
    folder.refresh_report(begun + 16)
    page = (folder.path / "report.html").read_text()
    assert 'http-equiv="refresh"' in page  # it loads itself anew while the run goes on
    os.utime(folder.path / "report.html", (0, 0))
    folder.refresh_report(begun + 17)
    assert (folder.path / "report.html").stat().st_mtime == 0
    folder.refresh_report(begun + 200)
    assert (folder.path / "report.html").stat().st_mtime > 0
    folder.finish("completed")
    assert 'http-equiv="refresh"' not in (folder.path / "report.html").read_text()


def test_a_report_that_cannot_be_drawn_does_not_end_the_run(drawn_folder, caplog):
    folder = drawn_folder
    (folder.path / "report.html").mkdir()
    folder.refresh_report(later(20))
    assert "could not be drawn; `dimat-flwr report" in caplog.text
    assert folder.finish("completed")["status"] == "completed"
