"""A run drawn again from its files: the same figures, also after a kill in the middle of a line."""

import json
import time
from datetime import datetime

import pytest

from dimat_flwr.events import Evaluation, Failure, Final, Rejected, Stamped, Training
from dimat_flwr.records import RecordsError, RunFolder, load_summary, replay

FACTS = {"algorithm": "dimat", "topology": "ring", "dataset": "digits", "peers": 3, "spectral_gap": 0.5,
         "edges": [[0, 1, 0.5], [1, 2, 0.5], [2, 0, 0.5]], "rounds_planned": 2, "optimizer": "adam"}  # fmt: skip
DRAWN = ("accuracy.png", "topology.png", "report.html")


@pytest.fixture
def folder(tmp_path, undrawn):
    folder = RunFolder.create(tmp_path, "run", datetime(2026, 1, 1))
    folder.write_config("seed: 0\n", "flwr run .")
    folder.describe(FACTS)
    for number in (0, 1, 2):
        for peer in range(3):
            folder.event(Stamped(Training(0.5, 10, 1, 0.1), number, peer, "merge"))
            folder.event(Stamped(Evaluation("after_merge", 80.0 + peer + number), number, peer, "merge"))
            folder.edge_bytes(number, "a, b", peer, (peer + 1) % 3, 100 + peer)
    folder.event(Stamped(Rejected(1, "NaN"), 2, 0, "merge"))
    return folder


def without_time(summary):
    return {key: value for key, value in summary.items() if key not in ("heartbeat", "wall_seconds", "unread_lines")}


@pytest.mark.usefixtures("drawn")
def test_a_finished_run_comes_out_as_it_was(folder):
    folder.event(Stamped(Final(70.0), 2, 0, "merge"))
    folder.event(Stamped(Failure("gone"), 2, 2, "merge"))
    before = folder.finish("completed", parts=[[0], [1]])
    found = replay(folder.path)
    assert found == before | {"unread_lines": 0}
    assert load_summary(folder.path) == found
    assert all((folder.path / name).stat().st_size > 1000 for name in DRAWN)


def test_a_killed_run_is_drawn_and_half_a_line_is_left_out_and_said(folder):
    folder.heartbeat(time.monotonic() + 60)
    whole = without_time(folder.summary())
    old = json.loads((folder.path / "summary.json").read_text())
    killed = old | {"heartbeat": "2026-01-01T00:00:00+00:00", "writer": None}
    (folder.path / "summary.json").write_text(json.dumps(killed))
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"event":"evaluation","round":2,"peer":0,"exch')
    with (folder.path / "messages.csv").open("a") as file:
        file.write("2,merge,0,1,10")  # of 100: half a number still looks like one
    found = replay(folder.path)
    assert found["status"] == "interrupted"
    assert found["unread_lines"] == 2
    ignored = {"status", "reason", "writer"}
    assert {k: v for k, v in without_time(found).items() if k not in ignored} == {
        k: v for k, v in whole.items() if k not in ignored
    }
    assert "interrupted" in (folder.path / "report.html").read_text()
    assert load_summary(folder.path)["status"] == "interrupted"


def test_a_run_that_still_goes_on_is_drawn_and_keeps_its_summary(folder):
    folder.heartbeat(time.monotonic() + 60)
    before = (folder.path / "summary.json").read_bytes()
    assert replay(folder.path)["status"] == "running"
    assert (folder.path / "summary.json").read_bytes() == before
    assert (folder.path / "report.html").exists()


def test_a_lost_summary_is_put_together_from_the_other_files(folder):
    before = folder.finish("completed")
    (folder.path / "summary.json").unlink()
    found = replay(folder.path)
    assert found["rounds"] == before["rounds"]
    assert found["peers"] == 3
    assert found["edges"] == [[0, 1, None], [1, 2, None], [2, 0, None]]
    assert found["status"] == "interrupted"
    assert "was put together from the run's other files" in found["reason"]


def test_damage_in_the_middle_costs_the_damaged_lines_alone(folder):
    folder.finish("completed")
    for name in ("metrics.jsonl", "messages.csv"):
        lines = (folder.path / name).read_bytes().splitlines(keepends=True)
        lines[3] = b"\0\xff,\n"
        (folder.path / name).write_bytes(b"".join(lines))
    found = replay(folder.path)
    assert found["unread_lines"] == 2
    assert found["bytes_total"] == 3 * 303 - 102


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(RecordsError, match=r"metrics\.jsonl: No such file.*give the folder of a run"):
        replay(tmp_path)
