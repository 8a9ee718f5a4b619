"""The dispatcher against a plain model of what must hold, under arbitrary timings, failures and graphs."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimat_flwr.relay.dispatch import Dispatch, Dispatcher
from dimat_flwr.relay.plan import Step
from dimat_flwr.topology import Mixing


def ring(peers: int) -> Mixing:
    return Mixing.from_graph(nx.cycle_graph(peers).to_directed(), "uniform")


def plan(mixing: Mixing, rounds: int) -> list[Step]:
    return [Step(round_number, "merge", mixing) for round_number in range(1, rounds + 1)]


def dispatcher(steps: list[Step], peers: int, straggler: float = 1e9, give_up: float = 1e9) -> Dispatcher[str]:
    return Dispatcher(steps, peers, straggler_timeout=straggler, give_up_timeout=give_up)


def to_all(text: str, peers: int) -> dict[int, str]:
    return dict.fromkeys(range(peers), text)


def test_a_peer_goes_on_when_its_neighbours_have_answered_and_not_before() -> None:
    relay = dispatcher(plan(ring(5), 1), 5)
    assert [d.peer for d in relay.ready(0.0)] == [0, 1, 2, 3, 4]
    relay.answered(0, to_all("x0", 5))
    relay.answered(1, to_all("x1", 5))
    assert relay.ready(1.0) == []
    relay.answered(4, to_all("x4", 5))
    (went_on,) = relay.ready(2.0)  # 0 has heard from 1 and 4; peers 2 and 3 are still at work
    assert went_on.peer == 0
    assert dict(went_on.payloads) == {1: "x1", 4: "x4"}
    assert went_on.weights == pytest.approx({0: 1 / 3, 1: 1 / 3, 4: 1 / 3})


def test_a_failed_neighbour_is_left_out_and_the_row_sums_to_one_again() -> None:
    relay = dispatcher(plan(ring(4), 1), 4)
    relay.ready(0.0)
    for peer in (0, 1, 3):
        relay.answered(peer, to_all(f"x{peer}", 4))
    relay.failed(2)
    by_peer = {d.peer: d for d in relay.ready(1.0)}
    assert dict(by_peer[1].payloads) == {0: "x0"}
    assert by_peer[1].weights == pytest.approx({0: 0.5, 1: 0.5})
    assert dict(by_peer[1].absent) == {2: "failed"}
    assert by_peer[0].weights == pytest.approx({0: 1 / 3, 1: 1 / 3, 3: 1 / 3})


def test_push_sum_rows_are_not_renormalized() -> None:
    columns = Mixing.from_graph(nx.cycle_graph(4).to_directed(), "column_stochastic")
    relay = dispatcher(plan(columns, 1), 4)
    relay.ready(0.0)
    for peer in (0, 1, 3):
        relay.answered(peer, to_all("x", 4))
    relay.failed(2)
    by_peer = {d.peer: d for d in relay.ready(1.0)}
    assert by_peer[1].weights == pytest.approx({0: 1 / 3, 1: 1 / 3})


def test_a_late_peer_is_left_out_then_joins_the_round_the_others_are_in() -> None:
    relay = dispatcher(plan(ring(3), 6), 3, straggler=10.0)
    relay.ready(0.0)
    relay.answered(0, to_all("x0", 3))
    relay.answered(1, to_all("x1", 3))
    assert relay.ready(5.0) == []
    now = 11.0
    for _ in range(3):  # rounds 1 to 3 without peer 2
        going = relay.ready(now)
        assert {d.peer for d in going} == {0, 1}
        assert all(d.absent == {2: "late"} for d in going)
        for d in going:
            relay.answered(d.peer, to_all(f"x{d.peer}", 3))
        now += 1
    skipped = relay.answered(2, to_all("old x2", 3))
    assert list(skipped) == [1, 2, 3]
    by_peer = {d.peer: d for d in relay.ready(now)}
    assert by_peer[0].step == by_peer[2].step == 4
    assert by_peer[0].payloads == {1: "x1", 2: "old x2"}
    assert set(by_peer[2].payloads) == {0, 1}


def test_catching_up_keeps_the_phase() -> None:
    two_phases = [Step(r, phase, ring(3)) for r in (1, 2, 3) for phase in ("models", "gradients")]
    relay = dispatcher(two_phases, 3, straggler=10.0)
    relay.ready(0.0)
    relay.answered(0, to_all("x", 3))
    relay.answered(1, to_all("x", 3))
    now = 11.0
    for _ in range(3):
        for d in relay.ready(now):
            relay.answered(d.peer, to_all("x", 3))
        now += 1
    relay.answered(2, to_all("x", 3))  # it finished the start; what follows is the phase "models"
    (step,) = {d.step for d in relay.ready(now) if d.peer == 2}
    assert two_phases[step - 1].phase == "models"
    assert two_phases[step - 1].round_number == 2


def test_one_payload_per_reader_reaches_only_its_reader() -> None:
    relay = dispatcher(plan(ring(3), 1), 3)
    relay.ready(0.0)
    for peer in range(3):
        relay.answered(peer, {reader: f"{peer}->{reader}" for reader in range(3)})
    for dispatch in relay.ready(1.0):
        assert dict(dispatch.payloads) == {
            source: f"{source}->{dispatch.peer}" for source in range(3) if source != dispatch.peer
        }


def test_lost_peers_are_named_after_the_give_up_timeout() -> None:
    relay = dispatcher(plan(ring(3), 1), 3, straggler=1.0, give_up=5.0)
    relay.ready(0.0)
    relay.answered(0, to_all("x", 3))
    assert relay.lost(4.0) == []
    assert relay.lost(5.1) == [1, 2]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_schedule_of_answers_gives_every_peer_every_payload_once(data: st.DataObject) -> None:
    peers, rounds = data.draw(st.integers(2, 6)), data.draw(st.integers(0, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    steps = []
    for round_number in range(1, rounds + 1):
        graph = nx.gnp_random_graph(peers, 0.5, seed=int(rng.integers(2**31)), directed=True)
        steps.append(Step(round_number, "merge", Mixing.from_graph(graph, "uniform")))
    doomed = {int(rng.integers(peers)): int(rng.integers(rounds + 1))} if rng.random() < 0.5 else {}
    relay = dispatcher(steps, peers)
    busy: list[Dispatch[str]] = []
    history: dict[int, list[int]] = {peer: [] for peer in range(peers)}
    for _ in range(10 * peers * (rounds + 1)):
        for d in relay.ready(0.0):
            history[d.peer].append(d.step)
            if d.step:
                row = steps[d.step - 1].mixing.row(d.peer)
                assert set(d.payloads) | set(d.absent) | {d.peer} == set(row)
                assert sum(d.weights.values()) == pytest.approx(1)
                # What arrives is what that very step published, never an older or newer model.
                assert all(text == f"{source}@{d.step}" for source, text in d.payloads.items())
                assert set(d.absent) <= set(doomed)
            busy.append(d)
        if not busy:
            break
        done = busy.pop(int(rng.integers(len(busy))))
        if doomed.get(done.peer) == done.step:
            relay.failed(done.peer)
        else:
            relay.answered(done.peer, to_all(f"{done.peer}@{done.step + 1}", peers))
    assert relay.finished()
    assert relay.kept() == 0, "every payload is dropped after its last reader"
    for peer, seen in history.items():
        assert seen == list(range(doomed.get(peer, rounds) + 1))
