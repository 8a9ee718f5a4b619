"""Random lives of towns: whoever leaves and comes, the run comes to its end and the graph stays connected."""

import random

import numpy as np
import pytest

from dimat_flwr.events import Failure, Redrawn
from dimat_flwr.topology.chain import Chain
from dimat_flwr.topology.connected import strong_parts
from dimat_flwr.topology.exponential import Exponential
from dimat_flwr.topology.fully_connected import FullyConnected
from dimat_flwr.topology.one_peer_exponential import OnePeerExponential
from dimat_flwr.topology.ring import Ring
from dimat_flwr.topology.star import Star
from dimat_flwr.wire.instruction import Instruction
from tests.relay.town import Life, Mortal
from tests.relay.toy_post import SHORTEST_SLEEPS, ToyPeer, make_plan


class Fate:
    """A random life of a town: who dies when and how, who comes when and claims what."""

    TOPOLOGIES = (Ring, FullyConnected, Exponential, Chain, Star, OnePeerExponential)

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        self.places, self.rounds = draw.randint(3, 7), draw.randint(4, 14)
        vacant = set(draw.sample(range(self.places), draw.randint(0, self.places - 2)))
        self.doomed: set[ToyPeer] = set()
        peers = [None if place in vacant else self._peer(draw, place) for place in range(self.places)]
        calendar: list[tuple[float, int, ToyPeer | None]] = []
        for number in range(draw.randint(0, 6)):
            claims = draw.choice([*range(self.places), -1, self.places])
            calendar.append((draw.uniform(0, 4 * self.rounds), 200 + number, self._peer(draw, claims)))
        for place in range(self.places):
            if draw.random() < 0.15 and peers[place]:  # its node goes for good, or for a while
                begins = draw.uniform(0, 3 * self.rounds)
                calendar.append((begins, 100 + place, None))
                if draw.random() < 0.5:
                    calendar.append((begins + draw.uniform(1, 60), 100 + place, peers[place]))
                self.doomed.add(peers[place])
        speed = {place: draw.choice((0.2, 1.0, 1.0, 4.0)) for place in range(self.places)}
        topology = draw.choice(self.TOPOLOGIES)()
        plan = make_plan(self.places, self.rounds, topology=topology)

        def delay(place: int, instruction: Instruction | None) -> float:
            hangs = instruction is not None and draw.random() < 0.004
            return 1e6 if hangs else speed.get(place, 1.0) * draw.uniform(0.5, 1.5)

        self.life = Life(plan, peers, calendar, delay, shortest_sleep=SHORTEST_SLEEPS[seed % 4])
        self.everybody = [*filter(None, peers), *(who for _, _, who in calendar if who)]

    def _peer(self, draw: random.Random, place: int) -> ToyPeer:
        dies_in = draw.randint(0, self.rounds) if draw.random() < 0.35 else None
        return Mortal(place, dies_in)


def require_a_good_end(fate: Fate) -> None:
    life, plan = fate.life, fate.life.plan
    assert life.most_unread <= 2
    for failure in life.recorder.of(Failure):
        reason = failure.event.error
        assert reason in ("it is broken", "no answer within 100 s", "no neighbour's model has arrived"), reason
    last = len(plan) - 1
    in_place: dict[int, Instruction] = {}
    for peer in fate.everybody:
        assert isinstance(peer, Mortal)
        for instruction in peer.seen:
            if instruction.number == last:
                in_place[instruction.peer] = instruction
        lively = peer.dies_in is None and peer not in fate.doomed
        gave_up = any(f.event.error != "it is broken" and f.peer == peer.place for f in life.recorder.of(Failure))
        if peer.seen and lively and not gave_up:
            assert peer.seen[-1].number == last, "who is in and does not break does all rounds"
    assert set(life.survivors) <= in_place.keys()
    changes = life.recorder.of(Redrawn)
    assert [s.round for s in changes] == sorted(s.round for s in changes)
    # The graphs of each stretch connect all who are in it, once its newcomers have begun.
    ends = [*(epoch.round for epoch in plan._epochs[1:]), fate.rounds + 1]
    for epoch, end in zip(plan._epochs, ends, strict=True):
        begins = max(1, epoch.round + bool(epoch.arriving))
        rounds = range(begins, begins + (plan._layout(len(epoch.places)).repeats_after or 1))
        if rounds.stop <= end:
            edges = np.concatenate([plan._round(r)[0].mixing.edge_array() for r in rounds])
            assert len(strong_parts(fate.places, edges, epoch.places)) == 1
    # Who is given up may be so when the others have done all; who breaks is missed at once, some rounds before the end.
    failures = life.recorder.of(Failure)
    in_time = all(f.event.error == "it is broken" and f.round < fate.rounds - 2 * fate.places for f in failures)
    if len(life.survivors) > 1 and in_time:
        assert set(plan.latest.places) == set(life.survivors)
        assert plan.parts(life.survivors) == [life.survivors]


@pytest.mark.parametrize("seed", range(25))
def test_whoever_comes_and_goes_the_run_comes_to_its_end(seed: int) -> None:
    require_a_good_end(Fate(seed))


@pytest.mark.slow
@pytest.mark.parametrize("tens", range(60))
def test_whoever_comes_and_goes_in_six_hundred_runs(tens: int) -> None:
    for seed in range(1000 + 10 * tens, 1010 + 10 * tens):
        require_a_good_end(Fate(seed))
