"""Toy peers behind a simulated clock: a Post without threads or Flower, with workers, delays and failures."""

import heapq
from collections.abc import Callable, Collection, Sequence
from typing import Any

from flwr.app import RecordDict

from dimat_flwr.events import Evaluation, PeerEvent, Stamped
from dimat_flwr.relay.envelope import RunFacts
from dimat_flwr.relay.plan import Plan
from dimat_flwr.relay.post import Reply
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.relay.traffic import RelayLoop
from dimat_flwr.topology import Exchange, RoundView
from dimat_flwr.topology.ring import Ring
from dimat_flwr.topology.schedules.always import Always
from dimat_flwr.wire import names
from dimat_flwr.wire.blob import from_record, to_record
from dimat_flwr.wire.instruction import Instruction, read_instruction
from dimat_flwr.wire.report import Report

# No sleep is shorter, by a run's seed: the relay's own pauses, of which it takes dozens for a message, and three that
# are no longer than the longest of them. Who looks seldom finds more at once.
SHORTEST_SLEEPS = (0.0, 0.05, 0.2, 0.5)


class SimulatedClock:
    """Time passes only while somebody sleeps, ``shortest_sleep`` or more, and flies to ``wakes()`` if it is later."""

    def __init__(self, shortest_sleep: float = 0.0) -> None:
        self.time, self.shortest_sleep = 0.0, shortest_sleep
        self.wakes: Callable[[], float] = lambda: 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time = max(self.time + max(seconds, self.shortest_sleep), self.wakes())


class ToyPeer:
    """Answers as a peer does and remembers what it was told; its payload says who published it for which exchange."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.seen: list[Instruction] = []
        self.inboxes: list[dict[int, str]] = []
        self._answered: tuple[tuple[int, str], RecordDict] | None = None

    def __call__(self, kind: str, content: RecordDict) -> RecordDict:
        instruction = read_instruction(content[names.INSTRUCTION])
        if kind == names.SETUP_MESSAGE:
            return RecordDict({names.REPORT: self.join(instruction).to_record()})
        asked = (instruction.round, instruction.exchange)
        if self._answered and self._answered[0] == asked:  # as a peer does that is asked the same again
            return self._answered[1]
        self.seen.append(instruction)
        arrived = {source: content[names.inbox(source)] for source in instruction.row.sources}
        self.inboxes.append({source: from_record(record).decode() for source, record in arrived.items()})
        assert len(content) == 1 + len(arrived), "nothing but the instruction and the payloads it names"
        reply = self.work(instruction)
        self._answered = asked, reply
        return reply

    def join(self, instruction: Instruction) -> Report:
        return Report(place=self.place)

    def work(self, instruction: Instruction) -> RecordDict:
        return self.answer(instruction, [Evaluation("after_merge", 50.0 + self.place)])

    def answer(self, instruction: Instruction, events: Sequence[PeerEvent] = ()) -> RecordDict:
        content = RecordDict({names.REPORT: Report(place=self.place, events=list(events)).to_record()})
        if instruction.next and instruction.next.readers:
            content[names.outbox(None)] = to_record(self.published(instruction).encode())
        return content

    def published(self, instruction: Instruction) -> str:
        return f"{self.place}>{instruction.next.round}.{instruction.next.exchange}"


Delay = Callable[[int, Instruction | None], float]


class ToyPost:
    """Delivers messages to toy peers; each takes a worker for a while, in order of sending.

    Args:
        peers: node id -> peer.
        clock: the time.
        workers: how many messages are worked on at a time; None for one worker per peer.
        delay: (place, instruction) -> seconds of work.
        simulation: what the relay is told.
    """

    def __init__(
        self,
        peers: dict[int, ToyPeer],
        clock: SimulatedClock,
        *,
        workers: int | None = None,
        delay: Delay = lambda place, instruction: 0.01,
        simulation: bool = True,
    ) -> None:
        self.simulation, self.out_of_reach = simulation, 0.0
        self._peers, self._clock, self._delay = peers, clock, delay
        self._free = [0.0] * (workers or len(peers))  # when each worker is free again
        self._replies: dict[str, tuple[float, Reply]] = {}
        self._sent = 0
        if simulation:  # nothing happens before the next reply, because there are no timers
            clock.wakes = lambda: min((when for when, _ in self._replies.values()), default=0.0)
        self.refuse: set[int] = set()  # nodes that messages cannot be sent to
        # Called at the first look for replies after one that found some: only then may more payloads be waiting.
        self.watch: Callable[[], None] = lambda: None
        self.looks, self._came = 0, True

    def nodes(self) -> list[int]:
        return sorted(self._peers)

    def send(self, node: int, kind: str, content: RecordDict) -> str:
        if node in self.refuse:
            return ""
        self._sent += 1
        peer, message_id = self._peers[node], str(self._sent)
        instruction = read_instruction(content[names.INSTRUCTION]) if kind == names.EXCHANGE_MESSAGE else None
        begins = max(self._clock.now(), heapq.heappop(self._free))
        ends = begins + self._delay(peer.place, instruction)
        heapq.heappush(self._free, ends)
        try:
            reply = Reply(message_id, peer(kind, content))
        except OSError as error:  # what a toy raises to die; anything else is a fault of the test
            reply = Reply(message_id, None, f"{error}")
        self._replies[message_id] = ends, reply
        return message_id

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        self.looks += 1
        if self._came:
            self.watch()
        ready = [key for key in ids if self._replies[key][0] <= self._clock.now()]
        self._came = bool(ready)
        return [self._replies.pop(key)[1] for key in ready]

    def forget(self, ids: Collection[str]) -> None:
        for key in ids:
            self._replies.pop(key, None)


class ListRecorder:
    """Remembers what the relay wrote down."""

    def __init__(self) -> None:
        self.events: list[Stamped] = []
        self.bytes: list[tuple[int, str, int, int, int]] = []
        self.work: list[tuple[int, str, int, float, float, float, float]] = []

    def event(self, stamped: Stamped) -> None:
        stamped.to_line()
        self.events.append(stamped)

    def edge_bytes(self, round_number: int, exchange: str, source: int, reader: int, count: int) -> None:
        self.bytes.append((round_number, exchange, source, reader, count))

    def answered(
        self, round_number: int, exchange: str, peer: int, took: float, working: float, training: float, merging: float
    ) -> None:
        self.work.append((round_number, exchange, peer, took, working, training, merging))

    def out_of_reach(self, seconds: float) -> None:
        pass

    def heartbeat(self) -> None:
        pass

    def commit(self) -> None:
        pass

    def refresh_report(self) -> None:
        pass

    def of(self, kind: type) -> list[Stamped]:
        return [stamped for stamped in self.events if isinstance(stamped.event, kind)]


class Averaging:
    """One exchange a round along the topology."""

    sums = "rows"

    def exchanges(self, view: RoundView) -> list[Exchange]:
        return [Exchange("merge", view.mixing)]


class NoFinalMerge:
    """Nothing after the last round."""

    def exchanges(self, view: RoundView) -> list[Exchange]:
        return []


def make_plan(peers: int, rounds: int, *, algorithm: Any = None, final_merge: Any = None, topology: Any = None) -> Plan:
    parts = algorithm or Averaging(), final_merge or NoFinalMerge(), topology or Ring(), Always()
    return Plan(*parts, peers=peers, rounds=rounds, seed=0)


class Relayed:
    """A run of toy peers, finished."""

    def __init__(
        self,
        peers: Sequence[ToyPeer],
        plan: Plan,
        *,
        workers: int | None = None,
        delay: Delay = lambda place, instruction: 0.01,
        refuse: Sequence[int] = (),
        shortest_sleep: float = 0.0,
        **timeouts: float,
    ) -> None:
        """Run it; with timeouts (``straggler_timeout``, ``give_up_timeout``) as a deployment, else as a simulation."""
        self.peers, self.recorder, self.most_unread = peers, ListRecorder(), 0
        self.clock = SimulatedClock(shortest_sleep)
        by_node = {100 + peer.place: peer for peer in peers}
        post = ToyPost(by_node, self.clock, workers=workers, delay=delay, simulation=not timeouts)
        post.refuse = {100 + place for place in refuse}
        facts = RunFacts(len(peers), "toy", not timeouts, plan.rounds)
        loop = RelayLoop(post, sorted(by_node), plan, facts, RelaySettings(**timeouts), self.recorder, self.clock)

        def watch() -> None:
            unread = (
                loop._dispatcher.unread(source, reader) for source in range(len(peers)) for reader in range(len(peers))
            )
            self.most_unread = max(self.most_unread, *unread)

        post.watch = watch
        self.survivors = loop.run()
        self.kept = loop._dispatcher.kept()
