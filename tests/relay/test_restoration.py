"""A run cut off at any moment stands where it stood: nobody misses a payload, reads one twice or a wrong one."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimat_flwr.relay.dispatch import Dispatch, Dispatcher
from dimat_flwr.relay.membership import SetupError
from dimat_flwr.relay.plan import Plan
from dimat_flwr.relay.restoration import Restoration, Standing, Told, find_out
from dimat_flwr.topology import Exchange, Mixing, RoundView
from tests.relay.toy_post import make_plan


class AnyGraphs:
    """Another directed graph in each exchange, often none at all, so that peers run far ahead of each other."""

    sums = "rows"

    def __init__(self, seed: int, density: float) -> None:
        self.seed, self.density = seed, density

    def exchanges(self, view: RoundView) -> list[Exchange]:
        graph = nx.gnp_random_graph(view.peers, self.density, seed=self.seed + view.round, directed=True)
        return [Exchange("merge", Mixing.from_graph(graph, "uniform"))]


class Peers:
    """Peers that keep the files that real ones keep, and check what they are given."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.files: list[set[int]] = [set() for _ in range(plan.peers)]

    def do(self, dispatch: Dispatch[str]) -> None:
        number, peer = dispatch.exchange, dispatch.peer
        sources = self.plan[number].mixing.sources(peer)
        assert dispatch.payloads == {source: f"{source}@{number}" for source in sources}
        assert dispatch.after == number - 1
        assert not dispatch.absent
        assert not dispatch.behind
        if number + 1 < len(self.plan):
            assert set(dispatch.readers) == set(self.plan[number + 1].mixing.readers(peer))
        kept = self.files[peer] | {number}
        self.files[peer] = {n for n in kept if n in dispatch.keep} | set(sorted(kept)[-2:])

    def published(self, peer: int, number: int) -> dict[int, str]:
        readers = self.plan[number + 1].mixing.readers(peer) if number + 1 < len(self.plan) else ()
        return dict.fromkeys(readers, f"{peer}@{number + 1}")


def relay(plan: Plan, peers: Peers, rng: np.random.Generator, found: Restoration[str] | None, steps: int) -> bool:
    """Relay for some steps and say whether the run is over; who is at work then may have finished untold."""
    dispatcher: Dispatcher[str] = Dispatcher(plan, plan.peers)
    if found is not None:
        contents = {(p.source, p.number): peers.published(p.source, p.number) for p in found.publications}
        assert not dispatcher.restore(found.with_contents(contents), 0.0)
    weights = rng.integers(1, 50, plan.peers) ** 2
    busy: list[Dispatch[str]] = []
    for _ in range(steps):
        busy += dispatcher.ready(0.0)
        if not busy:
            break
        chances = np.array([weights[d.peer] for d in busy], float)
        done = busy.pop(int(rng.choice(len(busy), p=chances / chances.sum())))
        peers.do(done)
        dispatcher.answered(done.peer, peers.published(done.peer, done.exchange))
    for dispatch in busy:
        if rng.random() < 0.3:
            peers.do(dispatch)
    return dispatcher.finished()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_nobody_misses_anything_however_often_it_is_cut_off_and_each_time_newest_files_are_damaged(
    data: st.DataObject,
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    peers = Peers(make_plan(
        data.draw(st.integers(2, 6)), data.draw(st.integers(1, 8)),
        algorithm=AnyGraphs(int(rng.integers(2**31)), float(rng.choice([0.1, 0.4, 1.0]))),
    ))  # fmt: skip
    plan, found, over = peers.plan, None, False
    for _ in range(4):
        over = relay(plan, peers, rng, found, int(rng.integers(1, 4 * plan.peers)))
        done = {peer: max(files) for peer, files in enumerate(peers.files) if files}
        if over or all(number == len(plan) - 1 for number in done.values()) or not done:
            break
        lost: list[set[int]] = [set() for _ in peers.files]
        for peer in range(plan.peers):  # of those with one, and never of all
            if rng.random() < 0.3 and peer in done and len(done) > 1:
                lost[peer] = {done.pop(peer)}
                peers.files[peer] -= lost[peer]
        standings = [Standing(frozenset(kept), frozenset(gone)) for kept, gone in zip(peers.files, lost, strict=True)]
        told = {peer: max(kept) for peer, kept in enumerate(peers.files) if kept}
        found = find_out(plan, standings, Told(done=told), nobody_is_late=True)
        for peer, kept in enumerate(peers.files):
            peers.files[peer] = {number for number in kept if number <= found.finished[peer]}
    if not over and found is not None:
        assert relay(plan, peers, rng, found, 10_000)


def test_a_late_peer_is_moved_on_and_one_that_lost_what_it_told_is_not() -> None:
    plan = make_plan(3, 9)
    ahead = Standing(frozenset({5, 6}))
    told = Told(done={0: 6, 1: 6, 2: 1})
    found: Restoration[str] = find_out(plan, [ahead, ahead, Standing(frozenset({0, 1}))], told, nobody_is_late=False)
    assert found.late == {2}
    dispatcher: Dispatcher[str] = Dispatcher(plan, 3, straggler_timeout=10.0)
    contents = {(p.source, p.number): dict.fromkeys(range(3), f"{p.source}@{p.number}") for p in found.publications}
    assert dispatcher.restore(found.with_contents(contents), 0.0) == {2: range(2, 7)}
    started = {d.peer: d for d in dispatcher.ready(0.0)}
    assert {d.exchange for d in started.values()} == {7}
    assert started[0].payloads == {1: "1@6", 2: "2@1"}
    for late, done in ((False, 4), (True, 1)):
        with pytest.raises(SetupError, match=r"peer 2 \(goes on from exchange 1\) needs for exchange 2 what peer 0"):
            find_out(plan, [ahead, ahead, Standing(frozenset({0, 1}))], Told(done={0: 6, 1: 6, 2: done}),
                     nobody_is_late=late)  # fmt: skip


def test_who_has_failed_stays_out_and_what_it_had_published_is_read() -> None:
    plan = make_plan(3, 4)
    standings = [Standing(frozenset({1})), Standing(frozenset({1})), Standing(frozenset({0, 1}))]
    found: Restoration[str] = find_out(plan, standings, Told(failed=frozenset({2})), nobody_is_late=True)
    dispatcher: Dispatcher[str] = Dispatcher(plan, 3)
    contents = {(p.source, p.number): dict.fromkeys(range(3), f"{p.source}@{p.number}") for p in found.publications}
    dispatcher.restore(found.with_contents(contents), 0.0)
    assert {d.peer: dict(d.payloads) for d in dispatcher.ready(0.0)} == {
        0: {1: "1@1", 2: "2@1"},
        1: {0: "0@1", 2: "2@1"},
    }
