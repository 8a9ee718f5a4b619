"""Going on with a run whose peers have left and come, after everything was cut off."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from dimat_flwr.events import Failure, Joined, Redrawn, Stamped
from dimat_flwr.records import RunFolder
from dimat_flwr.relay import MembershipError
from tests.in_process_app import Run
from tests.membership.devices import LIFE, QUICK, TABLE, CutOffError, lived, settings_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return lived(settings_of(tmp_path_factory.mktemp("whole"), QUICK, **TABLE), 6, **LIFE)


@pytest.mark.parametrize("cut", [4, 7, *(pytest.param(cut, marks=pytest.mark.slow) for cut in (3, 5, 6, 8, 9, 10))])
def test_a_run_whose_peers_have_changed_is_gone_on_with(whole: Run, tmp_path: Path, cut: int) -> None:
    settings = settings_of(tmp_path, QUICK, **TABLE)
    with pytest.raises(CutOffError):
        lived(settings, 6, **LIFE, cut=cut)
    (folder,) = tmp_path.iterdir()
    joined = Run(folder).events("joined")
    never = {1: 10**9, 3: 10**9}
    comes = {**never, 5: 0} if joined else {**never, 5: cut + 1}
    breaks = {1: 2, 3: 3} if cut > 3 else {}
    if cut == 3:
        comes = {1: 10**9, 5: 4} if Run(folder).events("failure") else {5: 10**9}
        breaks = {3: 3}
    found = lived({"resume-from": str(folder)}, 6, breaks={n: r for n, r in breaks.items() if n not in comes},
                  comes=comes, places={5: 3})  # fmt: skip
    summary = found.summary
    assert summary["lost_peers"] == {"1": 2}
    merged = {(e["round"], e["peer"]) for e in found.events("merge")}
    assert all((round, peer) in merged for round in range(1, 11) for peer in (0, 2, 4))
    assert (10, 3) in merged, "the newcomer is in, whether it had come before the cut or comes after it"
    assert {e["peer"]: e["sources"] for e in found.events("merge") if e["round"] == 10}[3] == [2, 4]
    if joined:
        assert found.events("evaluation") == whole.events("evaluation")
        assert found.events("redrawn") == whole.events("redrawn")
        for peer in (0, 2, 3, 4):
            mine, theirs = found.model(peer), whole.model(peer)
            assert all(bool((mine[name] == theirs[name]).all()) for name in theirs), "to the last bit"


@pytest.mark.parametrize("lost", [(), (0, 4)])
def test_a_newcomer_that_has_done_one_exchange_goes_on_from_its_one_checkpoint(
    whole: Run, tmp_path: Path, lost: Sequence[int]
) -> None:
    """Whoever was in its place before had another disk, and its neighbours lose their newest, which it may read."""
    with pytest.raises(CutOffError):
        lived(settings_of(tmp_path, QUICK, **TABLE), 6, **LIFE, cut=7)
    (folder,) = tmp_path.iterdir()
    (earlier, own) = sorted(folder.rglob("peer-3-*.checkpoint"))
    earlier.unlink()
    for peer in lost:
        max(folder.rglob(f"peer-{peer}-*.checkpoint")).unlink()
    found = lived({"resume-from": str(folder)}, 6, comes={1: 10**9, 3: 10**9}, places={5: 3})
    (resumed,) = [event for event in found.events("resumed") if event["peer"] == 3]
    assert f"{resumed['after']:08}" in own.name
    assert found.events("evaluation") == whole.events("evaluation")


def cut_before(entry: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all be gone before the relay writes down its n-th entry about who comes and goes, from 1."""
    written, seen = RunFolder.event, list[Stamped]()

    def event(folder: RunFolder, stamped: Stamped) -> None:
        if isinstance(stamped.event, Failure | Redrawn | Joined):
            seen.append(stamped)
            if len(seen) == entry:
                raise CutOffError
        written(folder, stamped)

    monkeypatch.setattr(RunFolder, "event", event)


# 1: failure of 1, 2: redrawn, 3: failure of 3, 4: redrawn, 5: redrawn with the newcomer, 6: joined
@pytest.mark.parametrize("entry", [2, 6, *(pytest.param(entry, marks=pytest.mark.slow) for entry in (1, 3, 4, 5))])
def test_a_run_is_gone_on_with_that_was_cut_off_at_any_entry_of_its_journal(
    whole: Run, tmp_path: Path, entry: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [e["event"] for e in whole.events() if e["event"] in ("failure", "redrawn", "joined")]
    assert sorted(entries) == sorted(["failure", "redrawn"] * 2 + ["redrawn", "joined"]), "what the numbers mean"
    settings = settings_of(tmp_path, QUICK, **TABLE)
    with monkeypatch.context() as dying:
        cut_before(entry, dying)
        with pytest.raises(CutOffError):
            lived(settings, 6, **LIFE)
    (folder,) = tmp_path.iterdir()
    lost = {event["peer"] for event in Run(folder).events("failure")}
    assert lost == ({*()} if entry == 1 else {1} if entry <= 3 else {1, 3})
    found = lived(
        {"resume-from": str(folder)}, 6, places={5: 3},
        breaks={node: round for node, round in LIFE["breaks"].items() if node not in lost},
        comes={**dict.fromkeys(lost, 10**9), 5: 0 if 3 in lost else 4},
    )  # fmt: skip
    merged = {(e["round"], e["peer"]) for e in found.events("merge")}
    assert all((round, peer) in merged for round in range(1, 11) for peer in (0, 2, 4))
    assert {e["peer"]: e["sources"] for e in found.events("merge") if e["round"] == 10} == {
        0: [2, 4], 2: [0, 3], 3: [2, 4], 4: [0, 3]
    }  # fmt: skip
    assert (found.summary["lost_peers"], list(found.summary["joined"])) == ({"1": 2}, ["3"])
    if entry in (2, 4):
        redrawn = [(e["round"], e["left"]) for e in whole.events("redrawn")][: entry // 2]
        assert [(e["round"], e["left"]) for e in found.events("redrawn")][: entry // 2] == redrawn


def test_a_redraw_that_was_lost_with_the_relay_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody comes: without it peer 1's neighbours would go on with a place in their graph that nobody is in."""
    settings = settings_of(tmp_path, QUICK.replace("relay.join=any_time", ""), **TABLE)
    with monkeypatch.context() as dying:
        cut_before(2, dying)
        with pytest.raises(CutOffError):
            lived(settings, 5, breaks={1: 2})
    (folder,) = tmp_path.iterdir()
    found = lived({"resume-from": str(folder)}, 5, comes={1: 10**9})
    assert [e["left"] for e in found.events("redrawn")] == [[1]]
    assert {e["peer"]: e["sources"] for e in found.events("merge") if e["round"] == 10} == {
        0: [2, 4], 2: [0, 3], 3: [2, 4], 4: [0, 3]
    }  # fmt: skip


def test_a_run_begins_with_fewer_than_its_places_and_is_gone_on_with(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f"{QUICK} relay.min_peers=3", **TABLE)
    with pytest.raises(CutOffError):
        lived(settings, 5, comes={1: 10**9, 4: 10**9}, cut=4)
    (folder,) = tmp_path.iterdir()
    found = lived({"resume-from": str(folder)}, 5, comes={1: 10**9, 4: 5})
    summary = found.summary
    assert (summary["status"], summary["reason"], summary["vacant"]) == ("completed", None, [1])
    assert summary["final_peers"] == {"reported": 4, "of": 4}
    assert {e["peer"]: e["sources"] for e in found.events("merge") if e["round"] == 10} == {
        0: [2, 4], 2: [0, 3], 3: [2, 4], 4: [0, 3]
    }  # fmt: skip
    assert [event["peer"] for event in found.events("vacant")] == [1, 4]


def test_a_newcomer_without_a_place_of_its_own_comes_into_a_run_that_is_gone_on_with(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, QUICK, **TABLE)
    with pytest.raises(CutOffError):
        lived(settings, 6, breaks={1: 2, 3: 3}, comes={5: 10**9}, cut=6)
    (folder,) = tmp_path.iterdir()
    gone = {1: 10**9, 3: 10**9}
    found = lived({"resume-from": str(folder)}, 6, comes=gone, places={5: None})
    assert [event["peer"] for event in found.events("joined")] == [1], "the first place that is open"
    assert found.summary["lost_peers"] == {"3": 3}
    assert {e["peer"] for e in found.events("merge") if e["round"] == 10} == {0, 1, 2, 4}


def test_a_peer_without_a_place_cannot_go_on_with_a_run(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, QUICK, **TABLE)
    with pytest.raises(CutOffError):
        lived(settings, 5, cut=4)
    (folder,) = tmp_path.iterdir()
    before = (folder / "metrics.jsonl").read_bytes()
    with pytest.raises(MembershipError, match=r"nobody is in place 2;.*\nnode 2 claims no place"):
        lived({"resume-from": str(folder)}, 5, places={2: None})
    assert (folder / "metrics.jsonl").read_bytes() == before
