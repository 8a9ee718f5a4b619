"""Whole runs by a simulated clock: random plans, delays, queues, failures and late peers; nobody is lost by waiting."""

import numpy as np
import pytest

from dimat_flwr.events import CaughtUp, Failure, Late, Rejected
from dimat_flwr.relay.envelope import RunFacts
from dimat_flwr.relay.plan import Plan
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.relay.traffic import RelayLoop
from dimat_flwr.topology import Exchange, RoundView, Topology
from tests.relay.toy_post import (
    SHORTEST_SLEEPS,
    ListRecorder,
    Relayed,
    SimulatedClock,
    ToyPeer,
    ToyPost,
    make_plan,
)


class RandomGraphs(Topology):
    """Another directed graph every round, seldom connected."""

    def period(self, peers: int) -> int | None:
        return None

    def draw(self, peers: int, round: int, seed: int) -> list[tuple[int, int]]:
        there = np.random.default_rng([seed, round]).random((peers, peers)) < 0.4
        return [(j, i) for j in range(peers) for i in range(peers) if there[i, j] and i != j]


class OutAndBack:
    """Two exchanges a round: models out, answers back."""

    sums = "rows"

    def exchanges(self, view: RoundView) -> list[Exchange]:
        return [Exchange("models", view.mixing), Exchange("answers", view.mixing.reversed(), "none")]


class Final:
    def exchanges(self, view: RoundView) -> list[Exchange]:
        return [Exchange("merge", view.mixing)]


class Dies(ToyPeer):
    """Raises in its n-th exchange."""

    def __init__(self, place: int, at: int) -> None:
        super().__init__(place)
        self.at = at

    def work(self, instruction):
        if len(self.seen) > self.at:
            raise OSError("out of battery")
        return super().work(instruction)


def random_plan(rng: np.random.Generator, peers: int) -> Plan:
    return make_plan(
        peers,
        int(rng.integers(0, 6)),
        algorithm=OutAndBack() if rng.random() < 0.5 else None,
        final_merge=Final() if rng.random() < 0.3 else None,
        topology=RandomGraphs() if rng.random() < 0.6 else None,
    )


def random_peers(rng: np.random.Generator, peers: int) -> list[ToyPeer]:
    doomed = set(rng.permutation(peers)[: rng.integers(0, peers)].tolist()) if rng.random() < 0.4 else set()
    return [Dies(place, int(rng.integers(0, 8))) if place in doomed else ToyPeer(place) for place in range(peers)]


def told_what_was_planned(run: Relayed, plan: Plan, *, all_in_time: bool) -> None:
    for peer in run.peers:
        for instruction, inbox in zip(peer.seen, peer.inboxes, strict=True):
            number = plan_number(plan, instruction)
            row = plan[number].mixing.row(peer.place)
            assert instruction.row.sources.keys() | instruction.absent.keys() == row.sources.keys()
            assert inbox.keys() == instruction.row.sources.keys()
            assert instruction.row == plan[number].mixing.row(peer.place, plan[number].sums).restricted_to(inbox.keys())
            if all_in_time:  # what arrives is what that very exchange was published for
                assert inbox == {source: f"{source}>{instruction.round}.{instruction.exchange}" for source in inbox}


def plan_number(plan: Plan, instruction) -> int:
    (number,) = (k for k, p in enumerate(plan) if (p.round, p.name) == (instruction.round, instruction.exchange))
    return number


def simulate_one(seed: int) -> None:
    """Queueing for workers, in a simulation: no timers at all."""
    rng = np.random.default_rng(seed)
    peers = int(rng.integers(2, 8))
    plan, toys = random_plan(rng, peers), random_peers(rng, peers)
    pace = rng.exponential(1.0, size=peers) * rng.choice([0.01, 1.0, 50.0])
    run = Relayed(
        toys,
        plan,
        workers=int(rng.integers(1, peers + 1)),
        delay=lambda place, instruction: float(pace[place] * rng.exponential()),
    )
    died = {peer.place for peer in toys if isinstance(peer, Dies) and len(peer.seen) > peer.at}
    assert {stamped.peer for stamped in run.recorder.of(Failure)} == died, "nobody is lost by waiting"
    assert run.survivors == [place for place in range(peers) if place not in died]
    assert run.recorder.of(Late) == []
    for place in run.survivors:
        assert [plan_number(plan, instruction) for instruction in toys[place].seen] == list(range(len(plan)))
        assert all(set(instruction.absent) <= died for instruction in toys[place].seen)
    told_what_was_planned(run, plan, all_in_time=True)
    assert run.most_unread <= 2
    assert run.kept == 0, "every payload is dropped after its last reader"


def deploy_one(seed: int) -> None:
    """A worker each, stragglers and peers that hang: with timers."""
    rng = np.random.default_rng(seed)
    peers = int(rng.integers(2, 8))
    plan, toys = random_plan(rng, peers), random_peers(rng, peers)
    slow = set(rng.permutation(peers)[: rng.integers(0, 3)].tolist())
    hangs = int(rng.integers(peers)) if rng.random() < 0.2 else -1

    def delay(place, instruction) -> float:
        if place == hangs and instruction.round == 1:
            return 1e9
        return float(rng.exponential(20.0 if place in slow and rng.random() < 0.4 else 0.3))

    sleeps = SHORTEST_SLEEPS[seed % 4]
    run = Relayed(toys, plan, delay=delay, shortest_sleep=sleeps, straggler_timeout=5.0, give_up_timeout=200.0)
    assert run.recorder.of(Rejected) == [], "who is late is not said to have sent nothing"
    for stamped in run.recorder.of(Failure):
        gave_up = stamped.peer == hangs and "no answer within" in stamped.event.error
        died = isinstance(toys[stamped.peer], Dies) and "out of battery" in stamped.event.error
        assert gave_up or died
    for place in run.survivors:
        numbers = [plan_number(plan, instruction) for instruction in toys[place].seen]
        skipped = [s.event.exchanges_skipped for s in run.recorder.of(CaughtUp) if s.peer == place]
        assert numbers == sorted(set(numbers)), "always on, never back"
        assert numbers[-1] == len(plan) - 1, "who comes back in time finishes too"
        assert len(numbers) + sum(skipped) == len(plan)
    told_what_was_planned(run, plan, all_in_time=not run.recorder.of(CaughtUp))
    assert run.most_unread <= 2
    assert run.kept == 0


@pytest.mark.parametrize("block", range(5))
def test_nobody_is_lost_by_waiting_for_a_worker(block: int) -> None:
    for seed in range(10 * block, 10 * block + 10):
        simulate_one(seed)


@pytest.mark.parametrize("block", range(5))
def test_late_and_failing_peers_hold_up_nobody_for_ever(block: int) -> None:
    for seed in range(10 * block, 10 * block + 10):
        deploy_one(seed)


@pytest.mark.slow
def test_a_thousand_runs() -> None:
    for seed in range(1000, 1500):
        simulate_one(seed)
        deploy_one(seed)


class Dozing(SimulatedClock):
    """The machine itself sleeps now and then, for a long while."""

    def __init__(self, asleep: float) -> None:
        super().__init__()
        self.asleep, self.naps = asleep, [3.0, 6.5, 11.1]

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.naps and self.time > self.naps[0]:
            self.time += self.asleep
            self.naps = [nap + self.asleep for nap in self.naps[1:]]


@pytest.mark.parametrize("asleep", [7.0, 300.0])
def test_nobody_is_late_or_lost_because_the_relay_itself_was_frozen(asleep: float) -> None:
    """The answers are there when it wakes up."""
    toys = [ToyPeer(place) for place in range(4)]
    recorder, clock = ListRecorder(), Dozing(asleep)
    post = ToyPost({100 + place: toys[place] for place in range(4)}, clock, delay=lambda *_: 2.0, simulation=False)
    settings = RelaySettings(straggler_timeout=5.0, give_up_timeout=100.0, repeat_timeout=6.0)
    facts = RunFacts(4, "toy", False, 6)
    loop = RelayLoop(post, range(100, 104), make_plan(4, 6), facts, settings, recorder, clock)
    assert loop.run() == [0, 1, 2, 3]
    assert clock.naps == []
    assert {stamped.event.kind for stamped in recorder.events} == {"evaluation"}


def test_a_worker_for_every_twenty_fifth_peer_and_long_training_lose_nobody() -> None:
    """50 peers on 2 workers with 200 s of pre-training: the last waits 5,000 s for its turn."""
    toys = [ToyPeer(place) for place in range(50)]
    run = Relayed(
        toys, make_plan(50, 1), workers=2, delay=lambda place, instruction: 1.0 if instruction.round else 200.0
    )
    assert run.survivors == list(range(50))
    assert run.clock.now() >= 5000
    assert run.recorder.of(Late) == []


def test_a_fast_part_does_not_run_away_from_a_slow_peer() -> None:
    """One-way edges 0 -> 1 -> 2 -> 3 (no way back, so nothing but the bound holds the first ones back)."""

    class OneWay(RandomGraphs):
        def draw(self, peers: int, round: int, seed: int) -> list[tuple[int, int]]:
            return [(i, i + 1) for i in range(peers - 1)]

    toys = [ToyPeer(place) for place in range(4)]
    plan = make_plan(4, 50, topology=OneWay())
    run = Relayed(toys, plan, delay=lambda place, instruction: 5.0 if place == 3 else 0.01)
    assert run.survivors == [0, 1, 2, 3]
    assert run.most_unread == 2
