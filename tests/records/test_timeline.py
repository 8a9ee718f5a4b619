"""When whom was asked and had answered: written as it happens, read back, never longer than the time there was."""

from datetime import datetime

import numpy as np
import pytest

from dimat_flwr.records import RunFolder, replay
from dimat_flwr.records.run_pictures import work_chart, work_shares
from dimat_flwr.records.timeline import TIMELINE_COLUMNS, Timeline, Worked, read_timeline


def timeline_of(*rows):
    timeline = Timeline()
    for row in rows:
        timeline.add(Worked.measured(*row))
    return timeline


def test_a_peer_claims_no_more_than_the_time_that_there_was():
    assert Worked.measured(1, "merge", 0, 2.0, 5.0, 1e99, 1e99, 1e99) == Worked(1, "merge", 0, 2.0, 5.0, 3.0, 3.0, 0.0)
    assert Worked.measured(1, "merge", 0, 2.0, 5.0, 2.0, 0.5, 9.0) == Worked(1, "merge", 0, 2.0, 5.0, 2.0, 0.5, 1.5)


@pytest.mark.parametrize("exchange", ["merge", "observe.models", 'a, "b"'])
def test_a_line_is_read_as_it_was_written(exchange):
    worked = Worked(3, exchange, 7, 1.25, 4.5, 3.0, 1.5, 0.125)
    found = Worked.from_line(worked.to_line().encode())
    assert found == (worked if '"' not in exchange else Worked(3, 'a, ""b', 7, 1.25, 4.5, 3.0, 1.5, 0.125))


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", TIMELINE_COLUMNS.encode(), b"1,merge,0,1,2,3,4\n", b"1,merge,-1,1,2,3,4,5\n",
     b"1,merge,0,1,nan,3,4,5\n", b"1,merge,0,1,2,inf,4,5\n", b"1,merge,0,1,2,3,4,-5\n",
     b"x,merge,0,1,2,3,4,5\n", b"9999999999,merge,0,1,2,3,4,5\n", b"1,\xff,0,1,2,3,4,5\n"],
)  # fmt: skip
def test_other_lines_are_not_taken(line):
    timeline, unread = read_timeline(iter([b"columns\n", line]))
    assert (len(timeline), unread) == (0, 1)


def test_when_a_round_was_over_for_each_peer():
    timeline = timeline_of(
        (1, "a", 0, 0.0, 1.0, 0, 0, 0), (1, "b", 0, 1.0, 3.0, 0, 0, 0), (2, "a", 2, 0.0, 9.0, 0, 0, 0),
        (7, "a", 1, 0.0, 9.0, 0, 0, 0), (2, "a", 5, 0.0, 9.0, 0, 0, 0),
    )  # fmt: skip
    nan = float("nan")
    np.testing.assert_array_equal(timeline.told([1, 2], 3), [[3.0, nan, nan], [nan, nan, 9.0]])
    assert timeline.told([], 3).shape == (0, 3)
    assert np.isnan(Timeline().told([1], 2)).all()


def test_the_time_of_all_peers_by_hand():
    timeline = timeline_of((0, "start", 0, 0.0, 4.0, 3.0, 2.0, 0.5), (0, "start", 1, 0.0, 10.0, 10.0, 8.0, 0.0))
    shares = work_shares(timeline)
    assert list(shares.values()) == pytest.approx([0.5, 0.025, 0.125, 0.05, 0.3])
    assert sum(shares.values()) == pytest.approx(1.0)
    assert work_shares(Timeline()) == {}
    assert work_chart(Timeline()) is None


def test_a_long_run_shows_its_newest_exchanges():
    timeline = timeline_of(*((k // 4, "merge", k % 4, k, k + 1.0, 1.0, 0.5, 0.0) for k in range(8000)))
    chart = work_chart(timeline)
    assert sum(len(row["work"]) for row in chart["peers"]) == 3000
    assert (chart["from"], chart["to"], chart["newest"], chart["first"]) == (5000.0, 8000.0, True, None)


def test_of_very_many_peers_the_first_are_shown():
    timeline = timeline_of(*((1, "merge", k, k, k + 1.0, 1.0, 0.5, 0.0) for k in range(200)))
    chart = work_chart(timeline)
    assert [row["peer"] for row in chart["peers"]] == list(range(150))
    assert (chart["newest"], chart["first"]) == (False, 150)


def test_a_run_folder_writes_it_and_it_is_read_back(tmp_path, undrawn):
    folder = RunFolder.create(tmp_path, "run", datetime(2026, 1, 1))
    folder.describe({"peers": 2})
    folder.answered(1, "merge", 1, 1e6, 0.5, 0.25, 0.125)  # asked before the run began, as no clock says
    folder.finish("completed")
    lines = (folder.path / "timeline.csv").read_text().splitlines()
    assert lines[0] + "\n" == TIMELINE_COLUMNS
    assert lines[1].startswith("1,merge,1,0.000,")
    assert replay(folder.path)["unread_lines"] == 0
    with (folder.path / "timeline.csv").open("a") as file:
        file.write("1,merge,0,1.0,2")
    assert replay(folder.path)["unread_lines"] == 1
    (folder.path / "timeline.csv").unlink()  # as a version before wrote none
    assert replay(folder.path)["unread_lines"] == 0
    assert 'id="timeline"' not in (folder.path / "report.html").read_text()
