"""How a run stands, against a record written event by event, and as `dimat-flwr status` shows it."""

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dimat_flwr.cli import app
from dimat_flwr.events import (
    Away,
    CaughtUp,
    Evaluation,
    Failure,
    Final,
    Joined,
    Late,
    Merge,
    Note,
    Rejected,
    Resumed,
    Returned,
    Stamped,
    Training,
    Vacant,
)
from dimat_flwr.records import RecordsError, RunFolder
from dimat_flwr.records.prometheus import prometheus_text
from dimat_flwr.records.standing import read_standing

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
STORY: list[tuple[int, int, Any]] = [
    *((0, peer, Evaluation("after_training", 50.0 + peer)) for peer in range(5)),
    (1, 0, Merge([4, 1], [0.4, 0.3, 0.3], 0.1)),
    (1, 0, Training(0.3, 10, 1, 0.5)),
    (1, 1, Away("its node is not connected")),
    (1, 2, Late(1)),
    (1, 2, Late(3)),
    (1, 3, Away("crashed")),
    (1, 3, Returned()),
    (1, 3, Evaluation("after_merge", 70.0)),
    (1, 3, Note("warning", {"text": "no room"})),
    (1, 4, Rejected(0, "NaN")),
    (2, 4, Failure("gone")),
    (2, 0, Final(90.0)),
]


@pytest.fixture
def told(tmp_path: Path, undrawn: None) -> RunFolder:
    folder = RunFolder.create(tmp_path, "ring", NOW)
    folder.describe({"peers": 6, "rounds_planned": 2, "algorithm": "dimat", "topology": 'a "ring"'})
    for number, peer, event in STORY:
        folder.event(Stamped(event, number, peer, "merge"))
    for edge in ((0, 1, 700), (0, 4, 700), (1, 0, 50)):
        folder.edge_bytes(1, "merge", *edge)
    folder.heartbeat(now=float("inf"))
    return folder


def test_peers_stand_as_the_record_says(told: RunFolder) -> None:
    peers = read_standing(told.path).peers
    assert [(found.state, found.since, found.round) for found in peers.values()] == [
        ("done", 2, 2), ("away", 1, 0), ("late", 1, 0), ("active", 1, 1), ("failed", 2, 0), ("active", 0, -1),
    ]  # fmt: skip
    assert [found.accuracy for found in peers.values()] == [90.0, 51.0, 52.0, 70.0, 54.0, None]
    assert [(found.sent, found.read) for found in peers.values()] == [
        (1400, 50),
        (50, 700),
        *[(0, 0)] * 2,
        (0, 700),
        (0, 0),
    ]
    counted = {peer: {what: n for what, n in found.counts.items() if n} for peer, found in peers.items()}
    assert counted == {0: {}, 1: {"away": 1}, 2: {"late": 2}, 3: {"away": 1, "returned": 1, "warnings": 1},
                       4: {"rejected": 1}, 5: {}}  # fmt: skip


def test_who_comes_back_is_active_and_who_failed_stays_so(told: RunFolder) -> None:
    for peer, event in ((1, Training(0.1, 1, 1, 0.1)), (2, CaughtUp(1)), (4, Returned()), (4, Late(0))):
        told.event(Stamped(event, 2, peer, "merge"))
    told.heartbeat(now=float("inf"))
    peers = read_standing(told.path).peers
    assert [peers[peer].state for peer in (1, 2, 4)] == ["active", "active", "failed"]
    assert [peers[peer].since for peer in (1, 2, 4)] == [2, 2, 2]


@pytest.mark.parametrize("event", [Resumed(0, "its newest checkpoint"), Evaluation("after_merge", 70.0)])
def test_who_goes_on_is_neither_late_nor_away(told: RunFolder, event: Any) -> None:
    for peer in (1, 2):
        told.event(Stamped(event, 1, peer, "merge"))
    told.heartbeat(now=float("inf"))
    assert [read_standing(told.path).peers[peer].state for peer in (1, 2)] == ["active", "active"]


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_nobody_is_at_work_for_a_run_that_has_ended(status: str, told: RunFolder) -> None:
    if status == "failed":
        told.finish("failed", "the disk is full")
    now = datetime.fromisoformat(read_standing(told.path).summary["heartbeat"])
    summary = told.path / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "writer": None}))
    found = read_standing(told.path, now + timedelta(minutes=2))
    assert found.summary["status"] == status
    assert [(peer.state, peer.since) for peer in found.peers.values()] == [
        ("done", 2), ("stopped", 1), ("stopped", 1), ("stopped", 1), ("failed", 2), ("stopped", 0),
    ]  # fmt: skip
    assert [found.peers[peer].counts["away"] for peer in (1, 3)] == [1, 1]
    assert 'peer="1",state="stopped"} 1.0' in prometheus_text([found])


def test_a_run_that_was_refused_before_it_began_says_so_of_all(tmp_path: Path, undrawn: None) -> None:
    folder = RunFolder.create(tmp_path, "ring", NOW)
    folder.describe({"peers": 3, "rounds_planned": 2})
    folder.finish("failed", "SetupError: nothing was trained. peer 1: no data")
    shown = CliRunner().invoke(app, ["status", str(folder.path)], env={"COLUMNS": "120"}).output
    assert "no round of 2 reached by all" in shown
    assert (shown.count("stopped"), shown.count("active")) == (3, 0)


def test_who_comes_into_a_place_stands_there_for_itself(told: RunFolder) -> None:
    told.event(Stamped(Vacant(), 0, 5, "start"))
    told.heartbeat(now=float("inf"))
    assert read_standing(told.path).peers[5].state == "vacant"
    assert told.summary()["lost_peers"] == {"4": 2}
    for place, round in ((4, 4), (5, 5)):
        told.event(Stamped(Joined(), round, place, "merge"))
    told.heartbeat(now=float("inf"))
    found = read_standing(told.path)
    assert [(found.peers[p].state, found.peers[p].since, found.peers[p].round) for p in (4, 5)] == [
        ("active", 4, 3), ("active", 5, 4),
    ]  # fmt: skip
    summary = told.summary()
    assert (summary["lost_peers"], summary["vacant"], summary["joined"]) == ({}, [], {"4": 4, "5": 5})
    assert summary["final_peers"]["of"] == 6


def test_the_run_s_round_is_that_of_the_slowest_who_has_not_failed(told: RunFolder) -> None:
    assert read_standing(told.path).round == -1
    told.event(Stamped(Training(0.1, 1, 1, 0.1), 1, 5, "merge"))
    told.heartbeat(now=float("inf"))
    assert read_standing(told.path).round == 0


def test_silence_is_measured_and_half_a_line_is_left_out(told: RunFolder) -> None:
    with (told.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"event":"failure","round":2,"pe')
    beat = datetime.fromisoformat(read_standing(told.path).summary["heartbeat"])
    run = read_standing(told.path, beat + timedelta(seconds=30))
    assert run.silent == 30
    assert run.summary["status"] == "running"
    assert run.peers[0].state == "done"


def test_nothing_is_written_into_the_folder(told: RunFolder) -> None:
    before = {path: path.read_bytes() for path in told.path.iterdir()}
    assert CliRunner().invoke(app, ["status", str(told.path)]).exit_code == 0
    assert {path: path.read_bytes() for path in told.path.iterdir()} == before


def test_the_screen_names_every_peer_and_what_is_the_matter(told: RunFolder) -> None:
    shown = CliRunner().invoke(app, ["status", str(told.path)], env={"COLUMNS": "120"}).output
    lines = shown.splitlines()
    assert len(lines) <= 24
    assert re.search(r"ring: running$", lines[0])
    assert "of 2 reached by all; 1.4 kB relayed" in lines[1]
    assert "ago" in lines[2]
    (away,) = [line for line in lines if "away " in line and "1 x away" in line and line.strip().startswith("1")]
    assert "round 0 merge" in away
    assert any("failed" in line and "1 x rejected" in line for line in lines)


def test_several_runs_are_shown_one_after_the_other(told: RunFolder, tmp_path: Path) -> None:
    other = shutil.copytree(told.path, tmp_path / "other")
    for command in ("status", "report"):
        result = CliRunner().invoke(app, [command, str(told.path), str(other)], env={"COLUMNS": "120"})
        assert result.exit_code == 0
        assert result.output.count("running") == 2


def test_a_folder_without_a_run_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="give the folder of a run"):
        read_standing(tmp_path)
    result = CliRunner().invoke(app, ["status", str(tmp_path)])
    assert result.exit_code == 1
    assert "Traceback" not in result.output


SAMPLE = re.compile(r'dimat_\w+\{\w+="(?:[^"\\\n]|\\.)*"(?:,\w+="(?:[^"\\\n]|\\.)*")*\} (?:-?\d[\d.e+-]*|nan)')


def test_prometheus_can_read_what_is_written(told: RunFolder, tmp_path: Path) -> None:
    target = tmp_path / "dimat.prom"
    target.write_text("old")
    other = shutil.copytree(told.path, tmp_path / "other")
    result = CliRunner().invoke(app, ["status", str(told.path), str(other), "--prometheus", str(target)])
    assert (result.exit_code, result.output) == (0, "")
    text = target.read_text()
    assert text == prometheus_text([read_standing(told.path), read_standing(other)])
    assert text.endswith("\n")
    kinds: dict[str, str] = {}
    seen = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds
            assert name.endswith("_total") == (kind == "counter")
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            assert SAMPLE.fullmatch(line), line
            series = line.rpartition(" ")[0]
            assert series not in seen
            assert series.partition("{")[0] in kinds
            seen.add(series)
    assert f'dimat_peer_state{{run="{told.path.name}",peer="1",state="away"}} 1.0' in text
    assert f'dimat_peer_state{{run="{told.path.name}",peer="1",state="active"}} 0.0' in text
    assert 'dimat_peer_state{run="other",peer="1",state="away"} 1.0' in text
    assert f'dimat_peer_sent_bytes_total{{run="{told.path.name}",peer="0"}} 1400.0' in text
    assert r'topology="a \"ring\""' in text
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_file_that_cannot_be_written_keeps_the_old_one(told: RunFolder, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["status", str(told.path), "--prometheus", str(tmp_path / "no" / "dimat.prom")])
    assert result.exit_code == 1
    assert "cannot write" in result.stderr
