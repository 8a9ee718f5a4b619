"""The whole app in this process while peers leave and come: relay, peers, record, and going on after a cut."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import RecordDict

from dimat_flwr.config import ConfigError, load_config
from dimat_flwr.events import Failure, Joined, Redrawn, Stamped
from dimat_flwr.launch import launch
from dimat_flwr.local import LocalPost
from dimat_flwr.records import RunFolder
from dimat_flwr.relay import MembershipError, run_relay
from dimat_flwr.relay.post import Reply
from dimat_flwr.wire import names
from dimat_flwr.wire.blob import to_record
from dimat_flwr.wire.instruction import read_instruction
from tests.in_process_app import ROOT, Run
from tests.relay.toy_post import SimulatedClock


class CutOffError(BaseException):
    """The relay and all peers are gone."""


class Devices(LocalPost):
    """Nodes in this process that break for good in a round, and others that come in a round, with a clock that goes on.

    Args:
        breaks: node -> the round in which its process ends with an error.
        comes: node -> the round in which it comes.
        places: node -> the place it claims; None for a device without partition-id.
        cut: the round in which all is gone.
    """

    simulation = False

    def __init__(
        self, nodes: int, settings: dict[str, Any], breaks: dict[int, int], comes: dict[int, int],
        places: dict[int, int | None], cut: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(nodes, settings, ROOT / "conf")
        self.clock, self._ready = SimulatedClock(), list[Reply]()
        self.asked, self.worked = set[int](), set[int]()  # nodes that were asked for their place, and that did anything
        self._breaks, self._comes, self._places, self._round, self._cut = breaks, comes, places, 0, cut

    def nodes(self) -> list[int]:
        return [node for node in super().nodes() if self._comes.get(node, 0) <= self._round]

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        self.clock.time += 1.0
        if self._waiting:
            self._ready.append(self._next_reply())
        found = [reply for reply in self._ready if reply.message_id in ids]
        self._ready = [reply for reply in self._ready if reply.message_id not in ids]
        return found

    def _next_reply(self) -> Reply:
        message_id, node, kind, content = self._waiting.popleft()
        round = read_instruction(content[names.INSTRUCTION]).round
        self._round = max(self._round, round)
        if self._cut is not None and round >= self._cut:
            raise CutOffError
        if kind == names.EXCHANGE_MESSAGE and self._breaks.get(node, 10**9) <= round:
            return Reply(message_id, None, "the device is broken")
        return Reply(message_id, self.answer(node, kind, content))

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        from dimat_flwr.peer import handle

        (self.asked if kind == names.SETUP_MESSAGE else self.worked).add(peer)
        place = self._places.get(peer, peer)
        own = {} if place is None else {"partition-id": place}
        return handle(kind, content, self._states[peer], self._run_config, own, self._conf_dir)


def settings_of(base: Path, overrides: str, **choices: Any) -> dict[str, Any]:
    return {"output-dir": str(base), "overrides": overrides, **choices}


def lived(settings: dict[str, Any], nodes: int, **life: Any) -> Run:
    post = Devices(nodes, settings, **{"breaks": {}, "comes": {}, "places": {}, **life})
    return Run(launch(settings, ROOT / "conf", "pytest", lambda *run: run_relay(post, *run, clock=post.clock)))


DIGITS = (
    "relay.peers=5 relay.join=any_time checkpoint.save=never training.pretrain_epochs=2 training.local_epochs=1 "
    "model.width=2 dataset.train_samples=700 dataset.test_samples=200 evaluate.save_models=false batchnorm.samples=60"
)


@pytest.mark.slow
def test_two_leave_and_one_comes_and_reaches_the_others_accuracy_within_three_rounds(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f"{DIGITS} algorithm.matching.samples=60", rounds=8)
    run = lived(settings, 6, breaks={1: 2, 3: 3}, comes={5: 3}, places={5: 3})
    summary = run.summary
    (joined,) = run.events("joined")
    assert joined["peer"] == 3
    assert joined["round"] <= 6
    merged = {(e["round"], e["peer"]): e["accuracy"] for e in run.events("evaluation") if e["stage"] == "after_merge"}
    first, third = joined["round"], joined["round"] + 2
    others = statistics.fmean(merged[first, peer] for peer in (0, 2, 4))
    assert merged[first, 3] > others - 6.0, "with weights of its own it is 17 points behind"
    others = statistics.fmean(merged[third, peer] for peer in (0, 2, 4))
    assert merged[third, 3] > others - 3.0, "in its third round"
    assert others > 85
    assert {peer for round, peer in merged if round == 8} == {0, 2, 3, 4}, "the rounds go on"
    last = [e for e in run.events("merge") if e["round"] == 8]
    assert {e["peer"]: e["sources"] for e in last} == {0: [2, 4], 2: [0, 3], 3: [2, 4], 4: [0, 3]}, "a ring of four"
    assert summary["status"] == "incomplete"
    assert summary["lost_peers"] == {"1": 2}
    assert summary["joined"] == {"3": joined["round"]}
    assert summary["parts"] is None
    assert summary["final_peers"] == {"reported": 4, "of": 5}


TABLE: dict[str, Any] = {"dataset": "breast_cancer", "model": "mlp", "algorithm": "weight_averaging", "rounds": 10}
QUICK = (
    "relay.peers=5 relay.join=any_time training.pretrain_epochs=1 training.local_steps=1 training.batch_size=16 "
    "checkpoint.save=always"
)
LIFE: dict[str, Any] = {"breaks": {1: 2, 3: 3}, "comes": {5: 3}, "places": {5: 3}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return lived(settings_of(tmp_path_factory.mktemp("whole"), QUICK, **TABLE), 6, **LIFE)


@pytest.mark.parametrize("frozen", ["false", "true"])
def test_who_comes_begins_with_a_neighbours_statistics_where_peers_keep_their_own(tmp_path: Path, frozen: str) -> None:
    """It has none of its own: with frozen ones it would never have any."""
    words = f"{QUICK} training.local_steps=null training.local_epochs=0 batchnorm.policy=keep batchnorm.frozen={frozen}"
    run = lived(settings_of(tmp_path, words, **TABLE | {"rounds": 6}), 6, **LIFE)
    (joined,) = run.events("joined")
    first = int(next(e["values"]["with_model_of"] for e in run.events("note") if e["name"] == "joined"))
    assert joined["peer"] == 3
    mine, theirs = run.model(3), run.model(first)
    names = [name for name in mine if name.endswith(("running_mean", "running_var"))]
    assert len(names) == 4
    assert all(torch.equal(mine[name], theirs[name]) for name in names)
    assert not torch.equal(mine[names[0]], torch.zeros_like(mine[names[0]]))


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


def test_spare_nodes_of_whatever_id_keep_nobody_out_of_his_place(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, QUICK, **{**TABLE, "rounds": 1})
    run = lived(settings, 7, places={0: 8, 1: 9, **{node: node - 2 for node in range(2, 7)}})
    assert run.summary["status"] == "completed"
    assert {e["peer"] for e in run.events("merge")} == set(range(5))


def test_a_run_is_not_in_parts_because_a_place_is_vacant_and_the_graph_is_small(tmp_path: Path) -> None:
    overrides = f"{QUICK} relay.min_peers=3 schedule.share=0.1"
    settings = settings_of(tmp_path, overrides, **{**TABLE, "rounds": 1, "schedule": "partial"})
    summary = lived(settings, 5, comes={1: 10**9}).summary
    assert (summary["vacant"], summary["lost_peers"]) == ([1], {})
    assert (summary["status"], summary["parts"]) == ("completed", None), "as where all five are there"


def test_too_few_are_too_few(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f"{QUICK} relay.min_peers=3", **TABLE)
    too_few = "2 peers are there, the run needs at least 3: nobody is in place 1, 3, 4"
    with pytest.raises(MembershipError, match=too_few):
        lived(settings, 5, comes=dict.fromkeys((1, 3, 4), 10**9))


def test_a_run_whose_graph_cannot_be_drawn_over_those_who_are_there_does_not_begin(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f"{QUICK} relay.peers=6 relay.min_peers=5 topology=torus", **TABLE)
    with pytest.raises(Exception, match="torus"):
        lived(settings, 5)


def some(first: str, *others: str) -> list[Any]:
    """Return parameters of which the first is always tried, the others with what is slow."""
    return [first, *(pytest.param(other, marks=pytest.mark.slow) for other in others)]


@pytest.mark.parametrize("codec", some("top_k", "int8"))
def test_a_newcomer_reads_a_lossy_codec_from_its_first_payload_on(tmp_path: Path, codec: str) -> None:
    run = lived(settings_of(tmp_path, QUICK, codec=codec, **TABLE), 6, **LIFE)
    assert run.events("rejected") == []
    assert {e["peer"] for e in run.events("merge") if e["round"] == 10} == {0, 2, 3, 4}


@pytest.mark.parametrize(
    "algorithm",
    some(
        "gossip", "dimat", "weight_matching", "aligned_averaging", "cdsgd", "cdmsgd", "qg_dsgdm", "fedavg", "epidemic"
    ),
)
def test_every_algorithm_that_says_so_takes_newcomers(tmp_path: Path, algorithm: str) -> None:
    plain = " optimizer=sgd" if algorithm in ("cdmsgd", "qg_dsgdm") else ""
    more = " algorithm.gossip_steps=2" if algorithm == "gossip" else ""
    settings = settings_of(tmp_path, f"{QUICK}{plain}{more}", **{**TABLE, "algorithm": algorithm})
    run = lived(settings, 6, **LIFE)
    (note,) = (e for e in run.events("note") if e["name"] == "joined")
    assert note["peer"] == 3
    assert {e["peer"] for e in run.events("merge") if e["round"] == 10} == {0, 2, 3, 4}
    assert run.summary["lost_peers"] == {"1": 2}


@pytest.mark.parametrize("algorithm", some("sgp", "gradient_tracking", "damsgrad", "choco", "cga", "relaysgd"))
def test_a_lost_peer_is_no_trouble_to_those_who_take_no_newcomers(tmp_path: Path, algorithm: str) -> None:
    more = {"relaysgd": " topology=chain", "gradient_tracking": " topology.weighting=metropolis_hastings"}
    overrides = QUICK.replace("relay.join=any_time", "") + " optimizer=sgd" + more.get(algorithm, "")
    run = lived(settings_of(tmp_path, overrides, **{**TABLE, "algorithm": algorithm}), 5, breaks={1: 2})
    assert run.summary["lost_peers"] == {"1": 2}
    assert len(run.events("redrawn")) == (algorithm != "relaysgd")
    assert {e["peer"] for e in run.events("evaluation") if e["round"] == 10} == {0, 2, 3, 4}


@pytest.mark.parametrize(
    ("overrides", "algorithm", "message"),
    [
        ("relay.join=any_time", "sgp", "takes no newcomers"),
        ("relay.join=any_time", "relaysgd", "takes no newcomers"),
        ("relay.join=any_time correction=scaffold optimizer=sgd", "weight_averaging", "one mixing matrix"),
        ("relay.join=any_time security.sign=true", "dimat", "security.sign does not go with relay.join=any_time"),
        ("relay.peers=4 relay.min_peers=3 security.sign=true", "dimat", "does not go with relay.min_peers"),
        ("relay.min_peers=3", "dimat", "set peers"),
        ("relay.peers=3 relay.min_peers=4", "dimat", "at most as many"),
        ("relay.join=sometimes", "dimat", "relay.join"),
        ("relay.leavers=stay", "dimat", "relay.leavers"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: str, algorithm: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config({"algorithm": algorithm, "overrides": overrides}, {}, ROOT / "conf")


class Hostile(Devices):
    """Node 5 comes and publishes what is no payload; 6 to 8 claim places that are taken, or that there are not."""

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        reply = super().answer(peer, kind, content)
        if peer == 5 and names.outbox(None) in reply:
            reply[names.outbox(None)] = to_record(b"\xff" * 1000)
        return reply


def test_hostile_newcomers_harm_nobody(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, QUICK, **TABLE)
    post = Hostile(9, settings, {3: 2}, dict.fromkeys((5, 6, 7, 8), 3), {5: 3, 6: 0, 7: 2, 8: 99})
    run = Run(launch(settings, ROOT / "conf", "pytest", lambda *known: run_relay(post, *known, clock=post.clock)))
    assert run.summary["status"] == "completed"
    assert [event["peer"] for event in run.events("joined")] == [3]
    assert [(event["peer"], event["round"]) for event in run.events("failure")] == [(3, 2)]
    rejected = run.events("rejected")
    assert rejected
    assert {event["source"] for event in rejected} == {3}
    assert {e["peer"]: e["sources"] for e in run.events("merge") if e["round"] == 10} == {
        0: [1, 4], 1: [0, 2], 2: [1], 3: [2, 4], 4: [0]
    }  # fmt: skip
    assert post.asked.issuperset({6, 7, 8})
    assert not post.worked & {6, 7, 8}
