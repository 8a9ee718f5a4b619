"""Toy peers that leave and come by a simulated clock."""

from collections.abc import Callable, Sequence

from flwr.app import RecordDict

from dimat_flwr.relay.envelope import RunFacts
from dimat_flwr.relay.plan import Plan
from dimat_flwr.relay.post import Reply
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.relay.traffic import RelayLoop
from dimat_flwr.relay.whereabouts import NOBODY
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.report import Report
from tests.relay.toy_post import Delay, ListRecorder, SimulatedClock, ToyPeer, ToyPost

ANYBODY = RelaySettings(join="any_time", straggler_timeout=50, give_up_timeout=100, repeat_timeout=1000)


class Mortal(ToyPeer):
    """Works until a round, and then its process dies with a final error; claims a place when it is asked."""

    def __init__(self, place: int, dies_in: int | None = None) -> None:
        super().__init__(place)
        self.dies_in, self.asked = dies_in, 0

    def join(self, instruction: Instruction) -> Report:
        self.asked += 1
        return super().join(instruction)

    def work(self, instruction: Instruction) -> RecordDict:
        if instruction.joins:
            assert instruction.after == -1
            if not instruction.row.sources:
                assert instruction.next is None, "else it would have waited a round"
                raise OSError("no neighbour's model has arrived")
        self.place = instruction.peer
        if self.dies_in is not None and instruction.round >= self.dies_in:
            raise OSError("it is broken")
        return super().work(instruction)


Luck = Callable[[int, str], str]


class Town(ToyPost):
    """Nodes that come and go by the clock.

    ``luck`` says of each message, by node and kind, whether it is "refused", or "lost" (its process dies, and Flower
    says so at once); "" for neither.
    """

    def __init__(self, clock: SimulatedClock, delay: Delay, luck: Luck = lambda node, kind: "") -> None:
        super().__init__({}, clock, workers=64, delay=delay, simulation=False)
        self.calendar: list[tuple[float, int, ToyPeer | None]] = []  # from when on, node, who is there
        self.luck = luck
        self.sent: list[tuple[float, int, str]] = []

    def send(self, node: int, kind: str, content: RecordDict) -> str:
        self.nodes()
        self.sent.append((self._clock.now(), node, kind))
        met = self.luck(node, kind)
        if met == "refused":
            return ""
        if met == "lost":
            key = f"lost {len(self.sent)}"
            self._replies[key] = self._clock.now(), Reply(key, None, "ClientApp stopped responding.", temporary=True)
            return key
        return super().send(node, kind, content)

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        assert self.looks < 20_000, "the run does not come to its end"
        return super().collect(ids)

    def nodes(self) -> list[int]:
        while self.calendar and self.calendar[0][0] <= self._clock.now():
            _, node, who = self.calendar.pop(0)
            if who is None:
                self._peers.pop(node, None)
                self.refuse.add(node)
            else:
                self._peers[node] = who
                self.refuse.discard(node)
        return super().nodes()


class Life:
    """One run of a town, finished."""

    def __init__(
        self,
        plan: Plan,
        peers: Sequence[ToyPeer | None],
        calendar: Sequence[tuple[float, int, ToyPeer | None]] = (),
        delay: Delay = lambda place, instruction: 1.0,
        settings: RelaySettings = ANYBODY,
        luck: Luck = lambda node, kind: "",
        shortest_sleep: float = 0.0,
    ) -> None:
        self.plan, self.peers, self.recorder, self.clock = plan, peers, ListRecorder(), SimulatedClock(shortest_sleep)
        self.town = town = Town(self.clock, delay, luck)
        town._peers = {100 + place: peer for place, peer in enumerate(peers) if peer}
        town.calendar = sorted(calendar, key=lambda entry: entry[:2])
        places = [100 + place if peer else NOBODY for place, peer in enumerate(peers)]
        if NOBODY in places:
            plan.begin_with([place for place, node in enumerate(places) if node != NOBODY])
        facts = RunFacts(plan.peers, "town", False, plan.rounds)
        loop = RelayLoop(town, places, plan, facts, settings, self.recorder, self.clock)
        self.most_unread = 0

        def watch() -> None:
            dispatcher = loop._dispatcher
            unread = [dispatcher.unread(s, r) for s in range(plan.peers) for r in range(plan.peers)]
            self.most_unread = max(self.most_unread, *unread)

        town.watch = watch
        self.survivors = loop.run()
        self.kept = loop._dispatcher.kept()

    def edges(self, round: int) -> list[tuple[int, int]]:
        return self.plan[self.plan.first_number(round) or 0].mixing.edges


def ring(*places: int) -> list[tuple[int, int]]:
    around = list(zip(places, (*places[1:], places[0]), strict=True))
    return sorted({*around, *((b, a) for a, b in around)})
