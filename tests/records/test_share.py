"""No peer can fill the relay's disk, crowd out its own figures, or hide that it failed."""

from datetime import datetime

import pytest

from dimat_flwr.events import (
    Absent,
    Away,
    CaughtUp,
    Evaluation,
    Failure,
    Final,
    Late,
    Merge,
    Note,
    Rejected,
    Resumed,
    Returned,
    Stamped,
    Training,
    UnitsMoved,
)
from dimat_flwr.records import RunFolder, replay

CHATTER = Note("chatter", {f"{k:<40}": "ä" * 200 for k in range(16)})


@pytest.fixture
def folder(tmp_path, undrawn):
    return RunFolder.create(tmp_path, "run", datetime(2026, 1, 1))


def size_of(folder, peer):
    lines = (folder.path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    return sum(len(line) for line in lines if b'"peer":%d,' % peer in line)


@pytest.mark.slow
@pytest.mark.parametrize(
    "event", [CHATTER, Rejected(1, "x" * 500), Final(50.0), Evaluation("after_merge", 50.0), Training(1.0, 1, 1, 1.0)],
    ids=lambda event: event.kind,
)  # fmt: skip
def test_whatever_a_peer_repeats_its_record_stays_below_a_megabyte(folder, event):
    line = len(str(event))
    for _ in range(2_000_000 // line):
        folder.event(Stamped(event, 1, 3, "merge"))
    folder.event(Stamped(Failure("ä" * 20_000), 2, 3, "merge"))
    folder.event(Stamped(Evaluation("after_merge", 90.0), 1, 0, "merge"))
    summary = folder.finish("completed")
    assert size_of(folder, 3) < 1_000_000
    assert summary["muted"]["3"] > 100
    text = (folder.path / "metrics.jsonl").read_text()
    assert text.count('"event":"muted"') == 2  # when it began, and what it came to
    assert f'"dropped":{summary["muted"]["3"]}}}' in text
    assert summary["lost_peers"] == {"3": 2}  # a full share hides no failure
    assert (folder.path / "summary.json").stat().st_size < 500_000
    assert replay(folder.path)["muted"] == summary["muted"]


def test_chatter_leaves_room_for_figures_and_for_the_end(folder):
    for _ in range(1000):
        folder.event(Stamped(CHATTER, 1, 3, "merge"))
    for number in range(1, 500):
        folder.event(Stamped(Training(0.5, 10, 1, 0.1), number, 3, "merge"))
        folder.event(Stamped(Evaluation("after_merge", 70.0), number, 3, "merge"))
    folder.event(Stamped(Final(71.0), 500, 3, "merge"))
    summary = folder.finish("completed")
    assert all(entry["accuracy_after_merge"] == 70.0 for entry in summary["rounds"][1:-1])
    assert summary["final_accuracy"] == 71.0


def test_what_instruments_tell_crowds_out_nothing(folder):
    loud = UnitsMoved({f"{k:<200}": 0.5 for k in range(100)})
    for number in range(1000):
        folder.event(Stamped(loud, number, 3, "merge"))
        folder.event(Stamped(Merge([1], [0.5, 0.5], 0.1), number, 3, "merge"))
    folder.finish("completed")
    text = (folder.path / "metrics.jsonl").read_text()
    assert text.count('"event":"merge"') == 1000
    assert size_of(folder, 3) < 1_000_000


@pytest.mark.parametrize("loud", [CHATTER, Evaluation("after_merge", 50.0), Away("gone"), Away("x" * 500)])
def test_who_goes_on_without_a_loud_peer_and_where_it_was_moved_on_is_told(folder, loud):
    """A run is gone on with by it: without these lines an honest reader would seem to have come too far."""
    line = len(str(loud))
    for _ in range(2_000_000 // line):
        folder.event(Stamped(loud, 1, 3, "merge"))
    told = [Late(0), Late(1), CaughtUp(2), Absent(2, "failed"), Resumed(5, "its newest checkpoint")]
    for event in told:
        folder.event(Stamped(event, 2, 3, "merge"))
    folder.finish("completed")
    events = [Stamped.from_line(line) for line in (folder.path / "metrics.jsonl").read_bytes().splitlines()]
    assert [stamped.event for stamped in events if stamped.round == 2] == told
    assert size_of(folder, 3) < 1_000_000


def test_that_it_came_and_went_is_told_of_a_loud_peer_and_leaves_room_for_its_figures(folder):
    for _ in range(1000):
        folder.event(Stamped(CHATTER, 1, 3, "merge"))
    folder.event(Stamped(Away("gone"), 2, 3, "merge"))
    folder.event(Stamped(Returned(), 2, 3, "merge"))
    for _ in range(20_000):
        folder.event(Stamped(Away("gone"), 3, 3, "merge"))
    folder.event(Stamped(Evaluation("after_merge", 70.0), 4, 3, "merge"))
    summary = folder.finish("completed")
    text = (folder.path / "metrics.jsonl").read_text()
    assert '"event":"returned"' in text
    assert text.index('"event":"away"') < text.index('"event":"returned"')
    assert [entry["accuracy_after_merge"] for entry in summary["rounds"] if entry["round"] == 4] == [70.0]
    assert size_of(folder, 3) < 1_450_000


def test_one_loud_peer_costs_the_others_nothing(folder):
    for number in range(200):
        folder.event(Stamped(CHATTER, number, 3, "merge"))
        folder.event(Stamped(Late(3), number, 2, "merge"))
    assert folder.finish("completed")["muted"].keys() == {"3"}


def test_a_long_run_has_a_larger_share(folder):
    folder.describe({"exchanges": 10_000})
    for number in range(1000):
        folder.event(Stamped(CHATTER, number, 3, "merge"))
    assert folder.finish("completed")["muted"] == {}
