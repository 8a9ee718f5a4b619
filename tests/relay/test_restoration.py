"""A run cut off at any moment stands where it stood: nobody misses a payload, reads one twice or a wrong one."""

from collections.abc import Sequence

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimat_flwr.events import CaughtUp, Evaluation, Failure, Joined, Resumed, Stamped
from dimat_flwr.relay.dispatch import Dispatch, Dispatcher
from dimat_flwr.relay.membership import SetupError
from dimat_flwr.relay.plan import Plan
from dimat_flwr.relay.restoration import Restoration, Standing, Told, find_out
from dimat_flwr.relay.resumption import what_was_told
from dimat_flwr.topology import Exchange, Mixing, RoundView
from dimat_flwr.topology.fully_connected import FullyConnected
from dimat_flwr.topology.ring import Ring
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


def test_who_read_what_a_late_peer_published_has_come_no_further_than_it_can_have() -> None:
    """Peer 1 was late with the start and moved on to exchange 2, which peer 2 has done with that, and not told yet."""
    plan = make_plan(4, 3)
    told = Told(
        done={0: 1, 1: 0, 2: 1, 3: 2},
        jumps={1: {0: 2}},
        without=frozenset({(1, 0, 1), (1, 2, 1), (2, 3, 2), (2, 1, 2), (0, 1, 2), (0, 3, 2)}),
    )
    standings = [Standing(frozenset(kept)) for kept in ({0, 1}, {0}, {0, 1, 2}, {0, 1, 2})]
    found: Restoration[str] = find_out(plan, standings, told, nobody_is_late=False)
    assert (found.finished, found.coming) == ([1, 0, 2, 2], [2, 2, 3, 3])
    assert found.repeats == {}, "nobody does anything again, least of all what it was moved past"
    assert (1, 0) in found.read_before[2]
    standings[2] = Standing(frozenset({1, 2, 3}))
    with pytest.raises(SetupError, match="peer 2 says that it has finished exchange 3, for which it needed in"):
        find_out(plan, standings, told, nobody_is_late=False)


def test_who_went_back_before_where_it_was_moved_on_goes_on_with_the_next_exchange() -> None:
    """It may be in time when it does that again, and the record has no word of it then."""
    plan = make_plan(4, 6)
    told = [Stamped(Evaluation("after_merge", 50.0), n, 1, "merge" if n else "start") for n in range(3)]
    late = Stamped(CaughtUp(2), 2, 1, "merge")
    for after, jumps in ((2, {2: 5}), (1, {}), (-1, {})):
        went_back = Stamped(Resumed(after, "its checkpoint of exchange 2 is damaged or missing"), after + 1, 1, "merge")
        again = [Stamped(Evaluation("after_merge", 50.0), n, 1, "merge") for n in range(max(after, 0) + 1, 3)]
        found = what_was_told([*told, late, went_back, *again], plan)
        assert found.jumps.get(1, {}) == jumps
        assert what_was_told([*told, late, went_back, *again, late], plan).jumps == {1: {2: 5}}
    came = Stamped(Joined(), 4, 1, "merge")  # another one, of whom its place's first one is not to be taken for
    found = what_was_told([*told, late, came, Stamped(Resumed(-1, "x"), 4, 1, "merge")], plan)
    assert (found.jumps, found.began) == ({1: {2: 5}}, {1: 4})


def test_who_has_failed_stays_out_and_what_it_had_published_is_read() -> None:
    plan = make_plan(3, 4)
    standings = [Standing(frozenset({1})), Standing(frozenset({1})), Standing(frozenset({0, 1}))]
    told = Told(failed=frozenset({2}), done={2: 1})
    found: Restoration[str] = find_out(plan, standings, told, nobody_is_late=True)
    dispatcher: Dispatcher[str] = Dispatcher(plan, 3)
    contents = {(p.source, p.number): dict.fromkeys(range(3), f"{p.source}@{p.number}") for p in found.publications}
    dispatcher.restore(found.with_contents(contents), 0.0)
    assert {d.peer: dict(d.payloads) for d in dispatcher.ready(0.0)} == {
        0: {1: "1@1", 2: "2@1"},
        1: {0: "0@1", 2: "2@1"},
    }


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_a_run_with_late_peers_is_gone_on_with_to_its_end(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plan = make_plan(int(rng.integers(2, 6)), 12, algorithm=AnyGraphs(seed % 2**31, float(rng.choice([0.4, 1.0]))))
    files: list[set[int]] = [set() for _ in range(plan.peers)]
    done: dict[int, int] = {}
    jumps: dict[int, dict[int, int]] = {}
    missed, without = set(), set()
    contents = dict.fromkeys(range(plan.peers), "model")

    def caught_up(peer: int, skipped: range) -> None:
        if skipped:
            jumps.setdefault(peer, {})[skipped.start - 1] = skipped.stop
            missed.update(edge for other in range(plan.peers) for edge in ((peer, other), (other, peer)))

    found: Restoration[str] | None = None
    for steps in (*rng.integers(1, 8 * plan.peers, 3), 10_000):
        dispatcher: Dispatcher[str] = Dispatcher(plan, plan.peers, straggler_timeout=10.0)
        now, busy = 0.0, list[tuple[float, Dispatch[str]]]()
        if found is not None:
            fetched = {(p.source, p.number): contents for p in found.publications}
            for peer, skipped in dispatcher.restore(found.with_contents(fetched), now).items():
                caught_up(peer, skipped)
        for _ in range(steps):
            for dispatch in dispatcher.ready(now):
                late = {source for source, why in dispatch.absent.items() if why == "late"} - dispatch.missed
                missed |= {(source, dispatch.peer) for source in late}
                without |= {(source, dispatch.peer, dispatch.exchange) for source in late}
                busy.append((now + float(rng.choice([0.5, 1.0, 60.0], p=[0.5, 0.4, 0.1])), dispatch))
            if not busy:
                break
            busy.sort(key=lambda one: one[0])
            ends, dispatch = busy.pop(0)
            now, until = min(ends, now + 11.0), ends
            if until > now:  # others may go on without it meanwhile
                busy.append((until, dispatch))
                continue
            peer, number = dispatch.peer, dispatch.exchange
            kept = files[peer] | {number}
            files[peer] = {n for n in kept if n in dispatch.keep} | set(sorted(kept)[-2:])
            done[peer] = number
            caught_up(peer, dispatcher.answered(peer, contents))
        if dispatcher.finished():
            break
        for _, dispatch in busy:
            if rng.random() < 0.3:
                files[dispatch.peer] |= {dispatch.exchange}
        standings = [Standing(frozenset(kept)) for kept in files]
        told = Told(done=dict(done), jumps=jumps, missed=frozenset(missed), without=frozenset(without))
        if not done or all(max(kept, default=-1) == len(plan) - 1 for kept in files):
            return
        found = find_out(plan, standings, told, nobody_is_late=False)
        done = {peer: number for peer, number in enumerate(found.finished) if number >= 0}
    assert dispatcher.finished()


@pytest.mark.parametrize("kept", [{40}, {39, 40}, set(range(41)), {5, 12}, {8}])
@pytest.mark.parametrize("links", ["ring", "everybody"])
@pytest.mark.parametrize("simulation", [False, True])
def test_nobody_is_moved_on_to_where_one_peer_says_that_it_is(kept: set[int], links: str, simulation: bool) -> None:
    plan = make_plan(4, 40, topology=Ring() if links == "ring" else FullyConnected())
    honest = [Standing(frozenset({5, 6})), Standing(frozenset({5, 6})), Standing(frozenset({4, 5}))]
    # That it went without a neighbour once, or was moved on, lets it run away no further.
    told = Told(
        done={0: 6, 1: 6, 2: 5, 3: 6},
        jumps={3: {1: 4}},
        missed=frozenset({(other, 3) for other in range(3)}),
        without=frozenset({(2, 3, 2), (0, 3, 2)}),
    )
    with pytest.raises(SetupError, match="peer 3 says that it has finished exchange") as refused:
        find_out(plan, [*honest, Standing(frozenset(kept))], told, nobody_is_late=simulation)
    assert "needed in exchange 7 what peer 2 has not published: that one has come to exchange 5" in str(refused.value)


@pytest.mark.parametrize("told_of", [1, 2])
def test_what_was_published_before_a_newcomer_came_is_read_though_it_has_finished_nothing(told_of: int) -> None:
    """Peer 2 has done exchange 2, whether the relay heard of it or not, and failed; it comes anew, to begin with 4."""
    plan = make_plan(4, 9)
    slow = Standing(frozenset({0, 1}))  # has yet to read what its neighbours published in 1 and 2
    standings = [Standing(frozenset({1, 2})), slow, Standing(frozenset({1, 2})), slow]
    told = Told(done={0: 2, 1: 1, 3: 1}, began={2: 4}, before={2: told_of}, failed_in=2)
    found: Restoration[str] = find_out(plan, standings, told, nobody_is_late=True)
    heard = [(1, 2, [1, 3]), (2, 3, [1, 3])][:told_of]
    assert [(p.number, p.exchange, sorted(p.readers)) for p in found.publications if p.source == 2] == heard
    assert (found.finished[2], found.coming[2], found.keeps(2)) == (-1, 4, [1, 2][:told_of])
    dispatcher: Dispatcher[str] = Dispatcher(plan, 4)
    contents = {(p.source, p.number): dict.fromkeys(p.readers, f"{p.source}@{p.number}") for p in found.publications}
    dispatcher.restore(found.with_contents(contents), 0.0)
    started = {d.peer: d for d in dispatcher.ready(0.0)}
    assert started[1].payloads == {0: "0@1", 2: "2@1"}
    assert 2 not in started, "it waits for its neighbours, who have yet to come so far"


def test_who_was_moved_on_before_another_came_into_its_place_has_published_for_where_it_was() -> None:
    plan = make_plan(4, 9)
    events = [
        Stamped(Evaluation("after_merge", 1.0), 1, 2, "merge"), Stamped(CaughtUp(2), 1, 2, "merge"),
        Stamped(Failure("broken"), 4, 2, "merge"), Stamped(Joined(), 7, 2, "merge"),
    ]  # fmt: skip
    told = what_was_told(events, plan)
    assert (told.before, told.began, told.jumps) == ({2: 1}, {2: 7}, {2: {1: 4}})
    later = [
        *events,
        Stamped(Resumed(-1, "it has finished nothing before"), 7, 2, "merge"),
        Stamped(Joined(), 8, 2, "merge"),
    ]
    assert (what_was_told(later, plan).before, what_was_told(later, plan).began) == ({2: 1}, {2: 8}), "postponed"
    others = Standing(frozenset({2, 3}))
    found: Restoration[str] = find_out(
        plan, [others, others, Standing(frozenset({1})), others], told, nobody_is_late=False
    )
    assert [(p.number, p.exchange) for p in found.publications if p.source == 2] == [(1, 4)]


def signing(kept: Sequence[set[int]], done: dict[int, int], failed: int = 3) -> Restoration[str]:
    standings = [Standing(frozenset(numbers)) for numbers in kept]
    told = Told(failed=frozenset({failed}), done=done, failed_in=0)
    return find_out(make_plan(4, 9), standings, told, nobody_is_late=False, all_or_none=True)


def test_peers_that_sign_begin_anew_where_one_has_not_finished_the_start_and_not_where_one_has_lost_its_files() -> None:
    assert list(signing([{0}, set(), {0, 1}, set()], {0: 0, 2: 1}).finished) == [-1] * 4
    assert list(signing([{0}, set(), {0}, set()], {0: -1, 2: -1}).finished) == [-1] * 4, "also for the second time"
    assert list(signing([{0}, {0}, {0, 1}, set()], {0: 0, 1: 0, 2: 1}).finished) == [0, 0, 1, -1]
    for kept in ([{4, 5}, set(), {4, 5}, set()], [{0}, set(), {0, 1}, set()]):
        with pytest.raises(SetupError, match="peer 1 had finished the start, where peers that sign meet, and has no"):
            signing(kept, {0: 5, 1: 0, 2: 5})
    with pytest.raises(SetupError, match="no peer has a checkpoint of this run"):
        signing([set()] * 4, {0: 5, 1: 5, 2: 5})


def test_a_run_in_which_nobody_had_finished_anything_is_gone_on_with_as_often_as_it_is_cut_off() -> None:
    nothing: Restoration[str] = find_out(make_plan(3, 2), [Standing()] * 3, Told(done={0: -1}), nobody_is_late=True)
    assert list(nothing.coming) == [0, 0, 0]


def test_who_has_failed_publishes_nothing_more() -> None:
    """Though its node is there, and says that it has done the rest by itself."""
    plan = make_plan(3, 9)
    standings = [Standing(frozenset({1})), Standing(frozenset({1})), Standing(frozenset(range(9)))]
    told = Told(failed=frozenset({2}), done={0: 1, 1: 1, 2: 0})
    found: Restoration[str] = find_out(plan, standings, told, nobody_is_late=True)
    assert [p.number for p in found.publications if p.source == 2] == []
    assert found.keeps(2) == [0]
