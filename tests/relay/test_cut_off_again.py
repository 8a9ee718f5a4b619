"""Runs with late and failing peers, cut off and gone on with again and again, by the record and the peers' files."""

import random
from collections.abc import Iterable, Mapping

import pytest

from dimat_flwr.events import CaughtUp, Evaluation, Event, Failure, Late, Resumed, Stamped
from dimat_flwr.relay.dispatch import Dispatch, Dispatcher
from dimat_flwr.relay.membership import SetupError
from dimat_flwr.relay.restoration import Restoration, Standing, find_out
from dimat_flwr.relay.resumption import what_was_told
from dimat_flwr.topology.fully_connected import FullyConnected
from dimat_flwr.topology.ring import Ring
from tests.relay.test_clock import OutAndBack, RandomGraphs
from tests.relay.toy_post import make_plan

TOLD = Evaluation("after_merge", 50.0)


class World:
    """A run, its record, and what its peers have on their disks; each payload says who published it in which exchange.

    Attributes:
        moved: peer -> exchange after which it was moved on -> to which: what is true, whatever the record says.
    """

    def __init__(self, seed: int) -> None:
        self.draw = draw = random.Random(seed)
        self.peers = draw.choice([3, 4, 5])
        topology, algorithm = draw.choice([Ring(), RandomGraphs(), FullyConnected()]), draw.choice([None, OutAndBack()])
        self.plan = make_plan(self.peers, draw.choice([2, 4, 8]), topology=topology, algorithm=algorithm)
        self.weights = [draw.choice([1, 1, 5, 30]) for _ in range(self.peers)]
        self.loses_files = draw.random() < 0.3
        self.record: list[Stamped] = []
        self.files: list[set[int]] = [set() for _ in range(self.peers)]
        self.lost: list[set[int]] = [set() for _ in range(self.peers)]
        self.moved: list[dict[int, int]] = [{} for _ in range(self.peers)]
        self.found: Restoration[str] | None = None

    def relay(self, steps: int) -> bool:
        """Relay for some steps, after which all is gone; return whether the run is over."""
        relay: Dispatcher[str] = Dispatcher(self.plan, self.peers, straggler_timeout=5.0)
        if self.found is not None:
            for peer, skipped in relay.restore(self.found, 0.0).items():
                self._move_on(peer, self.found.finished[peer], skipped)
        now, busy = 0.0, dict[int, Dispatch[str]]()
        for _ in range(steps):
            for dispatch in relay.ready(now):
                busy[dispatch.peer] = dispatch
                self._check(dispatch)
            if relay.finished():
                return True
            assert busy, "nobody is at work and nobody may start"
            now += self.draw.choice([0.01, 0.1, 1, 6])
            peer = self.draw.choices(list(busy), [self.weights[one] for one in busy])[0]
            done = busy.pop(peer)
            if self.draw.random() < 0.01:
                relay.failed(peer)
                self._tell(Failure("broken"), peer, done.exchange)
                continue
            self._keep(done)
            self._tell(TOLD, peer, done.exchange)
            self._move_on(peer, done.exchange, relay.answered(peer, _published(peer, done.exchange, done.readers)))
        for at_work in busy.values():  # some have done it, and nobody has heard of that
            if self.draw.random() < 0.5:
                self._keep(at_work)
        if self.loses_files and self.files[peer := self.draw.randrange(self.peers)]:
            self.files[peer].discard(newest := max(self.files[peer]))
            self.lost[peer].add(newest)
        return relay.finished()

    def go_on(self) -> None:
        """Find out where the run stands, and take up the record as ``Resumption`` does."""
        standings = [Standing(frozenset(self.files[p]), frozenset(self.lost[p])) for p in range(self.peers)]
        told = what_was_told(self.record, self.plan)
        found: Restoration[str] = find_out(self.plan, standings, told, nobody_is_late=False)
        self.record = [stamped for stamped in self.record if stamped.event != TOLD or _is_done(self, stamped, found)]
        for peer in set(range(self.peers)) - found.failed:
            last = found.finished[peer]
            self.moved[peer] = {n: to for n, to in self.moved[peer].items() if n <= last}
            self.files[peer] &= set(found.keeps(peer))
            self.lost[peer] = {n for n in self.lost[peer] if n <= last}
            coming = self.moved[peer].get(last, last + 1)
            assert found.coming[peer] == coming, "it goes on where it was moved to, and nowhere else"
            if last >= 0:
                self._tell(TOLD, peer, last)
            self._tell(Resumed(last, "x"), peer, min(coming, len(self.plan) - 1))
        contents = {(p.source, p.number): _published(p.source, p.number, p.readers) for p in found.publications}
        self.found = found.with_contents(contents)

    def _check(self, dispatch: Dispatch[str]) -> None:
        for source, content in dispatch.payloads.items():
            who, number = map(int, content.split(">"))
            read_in = self.moved[who].get(number, number + 1)
            assert (who, read_in) == (source, dispatch.exchange), f"peer {dispatch.peer} is given {content}"
        for source, why in dispatch.absent.items():
            if why == "late" and source not in dispatch.missed:
                self._tell(Late(dispatch.peer), source, dispatch.exchange)

    def _keep(self, done: Dispatch[str]) -> None:
        kept = self.files[done.peer] | {done.exchange}
        self.files[done.peer] = {n for n in kept if n in done.keep} | set(sorted(kept)[-2:])

    def _move_on(self, peer: int, number: int, skipped: range) -> None:
        if skipped:
            self.moved[peer][number] = number + 1 + len(skipped)
            self._tell(CaughtUp(len(skipped)), peer, number)

    def _tell(self, event: Event, peer: int, number: int) -> None:
        self.record.append(Stamped(event, self.plan.round_of(number), peer, self.plan.name_of(number)))


def _is_done(world: World, stamped: Stamped, found: Restoration[str]) -> bool:
    number = world.plan.number_of(stamped.round, stamped.exchange)
    assert number is not None
    return stamped.peer in found.failed or number <= found.finished[stamped.peer]


def _published(peer: int, number: int, readers: Iterable[int]) -> Mapping[int, str]:
    return dict.fromkeys(readers, f"{peer}>{number}")


def live(seed: int) -> str:
    """Live through one run; return what came of it."""
    world = World(seed)
    for _ in range(world.draw.randrange(1, 5)):
        if world.relay(world.draw.randrange(1, len(world.plan) * world.peers)):
            return "over"
        try:
            world.go_on()
        except SetupError as error:
            told = str(error)
            if "complete" in told or "every peer" in told:
                return "over"
            if any(world.lost) and ("checkpoints are missing" in told or "no peer has a checkpoint" in told):
                return "files are missing"
            assert "no peer has a checkpoint" in told, told
            assert not any(world.files)
            return "nothing was done"
    assert world.relay(20_000)
    return "over"


@pytest.mark.parametrize("block", range(4))
def test_everybody_is_given_what_was_published_for_it_and_goes_on_where_it_was(block: int) -> None:
    came_of_it = [live(seed) for seed in range(100 * block, 100 * block + 100)]
    assert came_of_it.count("over") > 80


@pytest.mark.parametrize("seed", [
    1859,  # one has read what a late peer published for the exchange to which it was moved on, and told nobody
    3426,  # one went back before where it was moved on, and then was in time
    5674,  # one that was moved on is late once more, in a run that is gone on with
])  # fmt: skip
def test_what_went_wrong_once(seed: int) -> None:
    assert live(seed) == "over"


@pytest.mark.slow
def test_four_thousand_runs() -> None:
    for seed in range(1000, 5000):
        live(seed)
