"""Who may go on, and with whose payloads: the event-driven heart of the relay, without any network in it.

Exchange 0 is the start; peer i is sent exchange s when it has finished exchange s - 1 and

* every source of exchange s has finished s - 1 too, or is out of the run (failed) or late. There is no global barrier:
  a slow peer delays its neighbours only;
* none of those who will read what it publishes has two unread payloads of it, so that a fast peer never runs away.
  Failed and late readers do not count; for a late one the newest two are kept.

Nobody waits for ever: take a peer that works on the lowest exchange s of all that are neither failed nor late. If it is
busy, it answers, fails or becomes late. If it is not, its sources have finished s - 1, because nobody is behind it; and
a reader with two unread payloads of it, both for exchanges <= s, would have to be at an earlier exchange than s.

Peers come and go: one that fails is waited for no longer, and where the plan is drawn anew (``Plan.change``) or a peer
joins, both concern exchanges of which nobody was told anything yet, so that nothing that is under way has to change.

A late peer is one that is busy for longer than the straggler timeout. When it answers after all it is moved on to the
round the others are in, so that it never works off a backlog nobody waits for. Waiting is not being late: only a busy
peer's time is counted, and where the relay cannot see who is busy and who queues (a simulation) there are no timers.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from dimat_flwr.events import Absence
from dimat_flwr.relay.mailbox import MOST_UNREAD, Mailbox
from dimat_flwr.relay.order import Dispatch
from dimat_flwr.relay.plan import PlannedExchange
from dimat_flwr.relay.restoration import Restoration

T = TypeVar("T")

__all__ = ["Dispatch", "Dispatcher"]


@dataclass
class _Wait:
    """What a peer waits for before it may start; whom it need not wait for any more is not looked at again."""

    sources: Sequence[int]
    readers: Sequence[int]
    sources_seen: int = field(default=0)
    readers_seen: int = field(default=0)


class Dispatcher(Generic[T]):
    """State machine over (peer, exchange); the caller sends what ``ready`` returns and reports what happens."""

    def __init__(
        self,
        plan: Sequence[PlannedExchange],
        peers: int,
        *,
        straggler_timeout: float | None = None,
        give_up_timeout: float | None = None,
        vacant: Collection[int] = (),
    ) -> None:
        """Prepare a run.

        Args:
            plan: the exchanges, in order.
            peers: number of peers.
            straggler_timeout: seconds after which neighbours stop waiting for a busy peer; None for never.
            give_up_timeout: seconds after which a busy peer counts as lost; None for never.
            vacant: places in which nobody is when the run begins.
        """
        self._plan, self._end = plan, len(plan)
        self._straggler, self._give_up = straggler_timeout, give_up_timeout
        self._next = [0] * peers  # by peer: the exchange it is at or will do next
        self._finished = [-1] * peers  # by peer: the exchange it finished last
        self._busy: dict[int, float] = {}  # peer -> since when, the longest first; and those of them that are not late
        self._on_time: dict[int, float] = {}
        self._failed = set(vacant)  # those who are out of the run, or not in it yet
        self._late: set[int] = set()
        self._newcomers: dict[int, set[tuple[str, int]]] = {}  # peer -> (exchange's name, source) that it got one of
        self._postponed: dict[int, int] = {}
        self._handed_out = -1
        self._at = Counter({0: peers - len(self._failed)})  # exchange -> how many that have not failed are at it
        self._slowest = 0
        self._mailbox: Mailbox[T] = Mailbox()
        self._undelivered: set[tuple[str, int, int]] = set()  # (exchange's name, source, reader), until it is told
        # Only peers whose wait may be over are looked at: each blocked one is called up by the first it waits for.
        self._candidates = set(range(peers)) - self._failed
        self._waits: dict[int, _Wait] = {}
        self._called_by: dict[int, set[int]] = {}
        self._repeats: Mapping[int, int] = {}  # peer -> up to which exchange it does again what it had done before

    def restore(self, found: Restoration[T], now: float) -> dict[int, range]:
        """Take up a run where it was left; nothing may have been done yet.

        Returns:
            Late peers -> the exchanges that they are moved past, as ``answered`` says it.
        """
        self._finished = list(found.finished)
        # Whoever failed had been asked for an exchange that it may have done; nobody else is to begin with that.
        self._handed_out = max(*found.finished, *found.repeats.values(), found.failed_in)
        self._failed = set()
        # A late peer is brought in below, as one that answers at last.
        answering = {peer for peer in found.late if found.finished[peer] >= 0}
        self._next = [found.finished[p] if p in answering else coming for p, coming in enumerate(found.coming)]
        self._at = Counter(self._next)
        self._newcomers = {peer: set() for peer in found.newcomers}
        self._candidates = {peer for peer, coming in enumerate(self._next) if coming < self._end} - answering
        self._repeats = found.repeats
        for peer in found.failed:
            self.failed(peer)
        for publication in found.publications:
            if publication.source not in answering or publication.number < found.finished[publication.source]:
                self._mailbox.put_back(
                    publication.source,
                    publication.number,
                    publication.exchange,
                    publication.contents,
                    set(publication.readers),
                )
        for reader, read in found.read_before.items():
            self._mailbox.begin(reader)
            for source, number in read:
                self._mailbox.remember(reader, source, number)
        for name, source, reader in found.undelivered:
            self._undelivered.add((name, source, reader))
        self._late = set(found.late)
        for peer in answering:
            self._busy[peer] = now
        newest = {(publication.source, publication.number): publication.contents for publication in found.publications}
        return {p: self.answered(p, newest.get((p, found.finished[p]), {}), found.coming[p]) for p in sorted(answering)}

    def ready(self, now: float, looked: float | None = None) -> list[Dispatch[T]]:
        """Return the exchanges that may start now and count their peers as busy from now on.

        Who had answered was seen last at the time ``looked``, by default now: nobody is late for what came since.
        """
        self._mark_late(now if looked is None else looked)
        started = []
        while self._candidates:  # who starts reads its mail, which may let those go on who sent it
            looked_at, self._candidates = sorted(self._candidates), set()
            for peer in looked_at:
                blocker = self._blocker(peer)
                if blocker is None and self._is_new(peer) and self._has_to_wait_a_round(peer):
                    continue
                if blocker is None:
                    started.append(self._start(peer, now))
                else:
                    self._called_by.setdefault(blocker, set()).add(peer)
        return started

    def answered(self, peer: int, contents: Mapping[int, T], least: int = 0) -> range:
        """Take note that a peer finished its exchange and published ``contents``: reader -> what is for that reader.

        Readers that the plan does not have, or that have gone on without this peer, are left out. It goes on with
        exchange ``least``, to which it was moved on already, or a later one.

        Returns:
            The exchanges the peer is moved past because it was late and the others have gone on; empty as a rule.
        """
        del self._busy[peer]
        self._on_time.pop(peer, None)
        finished, coming = self._next[peer], max(self._next[peer] + 1, least)
        self._finished[peer] = finished
        if peer in self._late:
            self._late.discard(peer)
            coming = self._caught_up(peer, coming)
            for source, exchange in self._mailbox.forget_reader(peer, before=coming):
                self._note_undelivered(exchange, source, peer)
            self._waits.clear()  # those who need not have waited for a late peer may have to wait for this one
        self._move(peer, coming)
        readers = {reader for reader in self._readers(peer, coming) if self._ahead(reader, coming)}
        if coming > finished + 1:  # it did not know for whom; who gets nothing finds that it was late
            readers &= contents.keys()
        if finished > self._repeats.get(peer, -1):  # else those who have gone on have had just this
            for reader in contents.keys() - readers:
                self._note_undelivered(finished + 1, peer, reader)
        for exchange, reader in self._mailbox.put(peer, finished, coming, contents, readers):
            self._note_undelivered(exchange, peer, reader)
        if coming < self._end:
            self._candidates.add(peer)
        self._call(peer)
        return range(finished + 1, coming)

    def failed(self, peer: int) -> None:
        """Take note that a peer is out of the run; what it published before may still be read."""
        self._failed.add(peer)
        self._late.discard(peer)
        self._busy.pop(peer, None)
        self._on_time.pop(peer, None)
        self._candidates.discard(peer)
        self._waits.pop(peer, None)
        self._at[self._next[peer]] -= 1
        self._mailbox.forget_reader(peer)
        self._call(peer)

    def join(self, peer: int, number: int) -> None:
        """Take in a peer that is out, or was never in: it begins with an exchange that nobody was told of yet.

        It waits for its sources like everybody; what the place's peer before it published may still be read.
        """
        if peer not in self._failed:  # it has not begun, and is to begin elsewhere
            self._at[self._next[peer]] -= 1
        self._failed.discard(peer)
        self._newcomers[peer] = set()
        self._finished[peer], self._next[peer] = -1, number
        self._at[number] += 1
        self.redrawn()

    def redrawn(self) -> None:
        """Take note that the graphs of exchanges have changed which nobody was told of yet (``handed_out``)."""
        self._waits.clear()
        self._called_by.clear()
        self._candidates = {
            peer
            for peer, coming in enumerate(self._next)
            if coming < self._end and peer not in self._busy and peer not in self._failed
        }

    def postponed(self) -> dict[int, int]:
        """Return newcomer -> the exchange that it begins with after all; each is said once."""
        found, self._postponed = self._postponed, {}
        return found

    def handed_out(self) -> int:
        """Return the last exchange that was started by anybody: who reads in the one after it is told."""
        return self._handed_out

    def lost(self, now: float) -> list[int]:
        """Return the peers that have been busy for longer than the give-up timeout; the caller reports them failed."""
        found = []
        for peer, since in self._busy.items():
            if self._give_up is None or now - since <= self._give_up:
                break
            found.append(peer)
        return sorted(found)

    def alive(self) -> list[int]:
        """Return the peers that have not failed, ascending."""
        return [peer for peer in range(len(self._next)) if peer not in self._failed]

    def slowest(self) -> int:
        """Return the lowest exchange that a peer of those that have not failed is at; the plan's length if none is."""
        while self._slowest < self._end and not self._at[self._slowest]:
            self._slowest += 1
        return self._slowest

    def finished(self) -> bool:
        """Whether every peer has done its last exchange or failed."""
        return self.slowest() == self._end

    def kept(self) -> int:
        """Return how many publications wait for a reader."""
        return len(self._mailbox)

    def unread(self, source: int, reader: int) -> int:
        """Return how many payloads wait on one edge."""
        return self._mailbox.unread(source, reader)

    def _mark_late(self, now: float) -> None:
        if self._straggler is None:
            return
        late = []
        for peer, since in self._on_time.items():
            if now - since <= self._straggler:
                break
            late.append(peer)
        for peer in late:
            del self._on_time[peer]
            self._late.add(peer)
            self._call(peer)

    def _call(self, peer: int) -> None:
        """Look again at those who wait for a peer of which something changed."""
        self._candidates |= self._called_by.pop(peer, set()) - self._failed

    def _blocker(self, peer: int) -> int | None:
        """Return the first peer that this one has to wait for."""
        number = self._next[peer]
        wait = self._waits.get(peer)
        if wait is None:
            wait = self._waits[peer] = _Wait(self._plan[number].mixing.sources(peer), self._readers(peer, number + 1))
        while wait.sources_seen < len(wait.sources):
            source = wait.sources[wait.sources_seen]
            if self._next[source] < number and self._is_awaited(source):
                return source
            wait.sources_seen += 1
        while wait.readers_seen < len(wait.readers):
            reader = wait.readers[wait.readers_seen]
            if self._mailbox.unread(peer, reader) >= MOST_UNREAD and self._is_awaited(reader):
                return reader
            wait.readers_seen += 1
        return None

    def _is_nobody(self, peer: int, number: int) -> bool:
        """Whether nobody was in a place to publish for an exchange: who was has failed, who comes has not begun."""
        return peer in self._failed or (self._is_new(peer) and self._next[peer] >= number)

    def _is_new(self, peer: int) -> bool:
        return peer in self._newcomers and self._finished[peer] < 0

    def _has_to_wait_a_round(self, peer: int) -> bool:
        """Let a newcomer whose sources have all gone meanwhile begin in a later round, if there is one."""
        number = self._next[peer]
        if any(self._mailbox.has(source, number, peer) for source in self._waits[peer].sources):
            return False
        wanted = (self._plan[number].name, self._plan[number].handler)
        for later in range(number + 1, self._end):
            planned = self._plan[later]
            if (planned.name, planned.handler) == wanted and planned.mixing.sources(peer):
                self._mailbox.forget_reader(peer, before=later)
                self._waits.clear()  # those who do not wait for it any more
                self._move(peer, later)
                self._postponed[peer] = later
                self._candidates.add(peer)
                self._call(peer)
                return True
        return False

    def _is_awaited(self, peer: int) -> bool:
        return peer not in self._failed and peer not in self._late

    def _start(self, peer: int, now: float) -> Dispatch[T]:
        number = self._next[peer]
        self._handed_out = max(self._handed_out, number)
        wait = self._waits.pop(peer)
        self._mailbox.begin(peer)
        payloads: dict[int, T] = {}
        absent: dict[int, Absence] = {}
        missed = set()
        for source in wait.sources:
            answered, content = self._mailbox.take(source, number, peer)
            if content is not None:
                payloads[source] = content
            elif answered:
                absent[source] = "rejected"
            elif self._is_nobody(source, number) and not self._mailbox.pushed_out(source, number, peer):
                absent[source] = "failed"
            else:
                absent[source] = "late"
                if self._mailbox.pushed_out(source, number, peer):
                    missed.add(source)
        self._busy[peer] = self._on_time[peer] = now
        self._call(peer)
        planned = self._plan[number]
        row = planned.mixing.row(peer, planned.sums).restricted_to(payloads.keys())
        # What is done again is published for the same readers, or a codec that counts them would go another way.
        again = number <= self._repeats.get(peer, -1)
        readers = tuple(
            reader
            for reader in wait.readers
            if self._ahead(reader, number + 1) or (again and reader not in self._failed)
        )
        behind = tuple(reader for reader in readers if self._is_behind(reader, self._plan[number + 1].name, peer))
        after, keep = self._finished[peer], self._mailbox.needed(peer)
        joins = self._is_new(peer)
        return Dispatch(peer, number, payloads, row, readers, absent, frozenset(missed), behind, after, keep, joins)

    def _is_behind(self, reader: int, exchange: str, source: int) -> bool:
        """Whether a reader did not get what a source published last for an exchange; said once."""
        edge, met = (exchange, source, reader), self._newcomers.get(reader)
        is_new = met is not None and (exchange, source) not in met
        if met is not None:
            met.add((exchange, source))
        if edge in self._undelivered:
            self._undelivered.discard(edge)
            return True
        return is_new

    def _note_undelivered(self, exchange: int, source: int, reader: int) -> None:
        if exchange < self._end and reader not in self._failed:
            self._undelivered.add((self._plan[exchange].name, source, reader))

    def _readers(self, peer: int, number: int) -> Sequence[int]:
        """Return who reads from ``peer`` in an exchange; nobody where there is no such exchange."""
        return self._plan[number].mixing.readers(peer) if number < self._end else ()

    def _ahead(self, reader: int, number: int) -> bool:
        """Whether a peer will still read in exchange ``number``."""
        at = self._next[reader]
        return reader not in self._failed and (at < number or (at == number and reader not in self._busy))

    def _move(self, peer: int, number: int) -> None:
        self._at[self._next[peer]] -= 1
        self._next[peer] = number
        self._at[number] += 1

    def _caught_up(self, peer: int, number: int) -> int:
        """Return the exchange a late peer goes on with: the same one, in the latest round that no other has left."""
        others = [
            self._next[other]
            for other in range(len(self._next))
            if other != peer and other not in self._failed and other not in self._late
        ]
        if not others or number >= self._end:
            return number
        published = self._plan[number]
        same = (
            later
            for later in range(min(*others, self._end - 1), number, -1)
            if (self._plan[later].name, self._plan[later].handler) == (published.name, published.handler)
        )
        return next(same, number)
