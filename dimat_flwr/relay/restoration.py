"""Where a run that is gone on with stands, found from the peers' checkpoints and what its record says of them.

Peer i has finished exchange f_i, its newest checkpoint. It goes on with f_i + 1, for which it needs what its sources
published in their exchange f_i; and so for each later exchange that a source has published for already. A peer keeps
the checkpoints of all exchanges whose payloads somebody has not read or might read again (``Mailbox.needed``), so what
is needed is there; where it is not, either a disk has lost it, which ends the matter before anything is trained, or
the reader was too late for it before the run was cut off, and is moved on as it would have been then.

A peer whose newest checkpoint is damaged stands one exchange earlier and does that again, with the same payloads and
for the same readers: so it publishes the same again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from dimat_flwr.relay.membership import SetupError
from dimat_flwr.relay.plan import Plan

T = TypeVar("T")
_NAMED = 10  # faults in one error


@dataclass(frozen=True)
class Standing:
    """What one peer's node said of its checkpoints.

    Attributes:
        kept: exchanges of which there is one.
        lost: those of which there should be one.
    """

    kept: frozenset[int] = frozenset()
    lost: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Told:
    """What the record says of a run so far.

    Attributes:
        failed: peers that are out.
        done: peer -> the last exchange that it told something of, or that the run was gone on with from before.
        jumps: peer -> exchange after which it was moved on, being late -> the exchange it went on with.
        missed: (source, reader) that went without each other at some time.
        without: (source, reader, exchange) in which the reader did not wait for the source.
        began: peer that came during the run -> the exchange that it began with; ``done`` is from there on.
        before: the same peer -> the last exchange that whoever was in its place before told something of.
        failed_in: the latest exchange in which a peer was when it failed, also one into whose place another came.
    """

    failed: frozenset[int] = frozenset()
    done: Mapping[int, int] = field(default_factory=dict)
    jumps: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    missed: frozenset[tuple[int, int]] = frozenset()
    without: frozenset[tuple[int, int, int]] = frozenset()
    began: Mapping[int, int] = field(default_factory=dict)
    before: Mapping[int, int] = field(default_factory=dict)
    failed_in: int = -1


@dataclass(frozen=True)
class Publication(Generic[T]):
    """What a peer published and others have yet to read.

    Attributes:
        source: who.
        number: in which exchange of its own.
        exchange: the exchange in which it is read.
        readers: who will read it.
        contents: reader -> content; empty until it is fetched.
    """

    source: int
    number: int
    exchange: int
    readers: frozenset[int]
    contents: Mapping[int, T] = field(default_factory=dict)


@dataclass(frozen=True)
class Restoration(Generic[T]):
    """Where a run stands.

    Attributes:
        finished: by peer, the exchange it finished last; -1 for none.
        coming: by peer, the one it goes on with.
        failed: peers that are out.
        late: peers that were too late for what they would have to read, to be moved on.
        publications: what waits to be read, and the newest of each peer that published.
        read_before: reader -> (source, number): what it read in the exchange it finished last.
        repeats: peer -> up to which exchange it does again what it had done before.
        undelivered: (name of exchange, source, reader): who may not have got what was published last.
        end: how many exchanges, from the first, are those of the run so far.
        newcomers: peers that came during the run.
        failed_in: the latest exchange that a peer was asked for which has failed in it.
    """

    finished: Sequence[int]
    coming: Sequence[int]
    failed: frozenset[int]
    late: frozenset[int]
    publications: Sequence[Publication[T]]
    read_before: Mapping[int, Sequence[tuple[int, int]]]
    repeats: Mapping[int, int]
    undelivered: Collection[tuple[str, int, int]]
    end: int
    newcomers: Collection[int] = ()
    failed_in: int = -1

    def keeps(self, peer: int) -> list[int]:
        """Return the exchanges of a peer whose checkpoints are gone on from, ascending."""
        read = {n for readings in self.read_before.values() for source, n in readings if source == peer}
        published = {publication.number for publication in self.publications if publication.source == peer}
        return sorted(read | published | ({self.finished[peer]} - {-1}))

    def with_contents(self, contents: Mapping[tuple[int, int], Mapping[int, T]]) -> "Restoration[T]":
        """Return the same with what was fetched: (source, number) -> reader -> content."""
        filled = [
            replace(publication, contents=contents[key])
            for publication in self.publications
            if (key := (publication.source, publication.number)) in contents
        ]
        return replace(self, publications=filled)


def find_out(plan: Plan, standings: Sequence[Standing], told: Told, *, nobody_is_late: bool,
             all_or_none: bool = False) -> Restoration[T]:  # fmt: skip
    """Return where a run stands.

    Args:
        plan: the run's exchanges.
        standings: by peer.
        told: what the record says.
        nobody_is_late: whether peers wait for each other for ever, as in a simulation.
        all_or_none: whether it is begun anew where a peer has not finished the start: peers that sign meet there.

    Raises:
        SetupError: there is nothing to go on from or to go on with, something is missing that a peer needs, or a peer
            says that it has come further than it can have.
    """
    return _Search(plan, standings, told, all_or_none).result(nobody_is_late)


class _Search:
    def __init__(self, plan: Plan, standings: Sequence[Standing], told: Told, all_or_none: bool) -> None:
        self._plan, self._standings, self._told = plan, standings, told
        self._peers = range(plan.peers)
        self._end = len(plan) if plan.shared is None else plan.shared
        self._alive = [peer for peer in self._peers if peer not in told.failed]
        # A peer that is out has nobody who would notice that it claims too much: what it had told of is what counts.
        most = {peer: min(self._end - 1, told.done.get(peer, -1)) for peer in told.failed}
        self._finished = [
            max((n for n in standings[p].kept if told.began.get(p, 0) <= n <= most.get(p, self._end - 1)), default=-1)
            for p in self._peers
        ]
        self._must_have_met = all_or_none
        never_met = any(self._finished[peer] < 0 and told.done.get(peer, -1) < 0 for peer in self._alive)
        self._begins_anew = all_or_none and never_met
        if self._begins_anew:
            self._finished = [-1] * plan.peers
        self._coming = [self._jump(peer, self._finished[peer]) for peer in self._peers]
        # By source: the exchange in which it is read -> that in which it was published.
        self._published = [
            {self._jump(peer, n): n for n in standings[peer].kept if self._counts(peer, n)} for peer in self._peers
        ]

    def result(self, nobody_is_late: bool) -> Restoration[T]:
        self._require_something_to_do()
        self._require_possible()
        late, faults = set(), []
        for peer in self._alive:
            fault = self._fault(peer)
            if fault is None:
                continue
            exchange, source = fault
            damaged = self._standings[source].lost & {exchange - 1}
            lost = self._finished[peer] < min(self._told.done.get(peer, -1), self._end - 1)
            if nobody_is_late or damaged or lost:
                faults.append(self._describe(peer, exchange, source))
            else:
                late.add(peer)
        if faults:
            more = f"\nand {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
            raise SetupError(
                "nothing was trained, because checkpoints are missing. " + "\n".join(faults[:_NAMED]) + more + "\n"
                "Bring the files back, or start a new run from the models that this one has saved "
                "(training.initialization=file)"
            )
        return Restoration(
            finished=self._finished,
            coming=self._coming,
            failed=self._told.failed,
            late=frozenset(late),
            publications=self._waiting(),
            read_before=self._read_before(),
            repeats=self._repeats(),
            undelivered=self._undelivered(),
            end=self._end,
            newcomers=sorted(self._told.began.keys() - self._told.failed),
            failed_in=min(self._told.failed_in, self._end - 1),
        )

    def _counts(self, peer: int, number: int) -> bool:
        """Whether what was published in an exchange may be read: by the peer, or by who was in its place before."""
        began = self._told.began.get(peer, 0)
        return began <= number <= self._finished[peer] or number <= min(self._told.before.get(peer, -1), began - 1)

    def _jump(self, peer: int, number: int) -> int:
        if number < 0:
            return self._told.began.get(peer, 0)
        return self._told.jumps.get(peer, {}).get(number, number + 1)

    def _require_something_to_do(self) -> None:
        if not self._alive:
            raise SetupError("nothing was trained: every peer of this run has failed, and none of them comes back")
        has_told = max(self._told.done.values(), default=-1) >= 0
        if all(self._finished[peer] < 0 for peer in self._alive) and has_told and not self._begins_anew:
            raise SetupError(
                "nothing was trained: no peer has a checkpoint of this run that it could be gone on with from. They "
                "are kept with checkpoint.save=always, outside simulations also with auto, in the run's folder on "
                "each peer's machine (state-dir, else output-dir); a run that was finished without them cannot be "
                "gone on with"
            )
        for peer in self._alive:
            if self._must_have_met and self._finished[peer] < 0 and not self._begins_anew:
                raise SetupError(
                    f"nothing was trained. peer {peer} had finished the start, where peers that sign meet, and has no "
                    "checkpoint any more: the others know it by what it said then. Bring its files back, or start a "
                    "new run from the models that this one has saved (training.initialization=file)"
                )
        if all(self._finished[peer] == len(self._plan) - 1 for peer in self._alive):
            raise SetupError(
                f"nothing was trained: the run is complete, all peers have done its {self._plan.rounds} rounds; to go "
                "on with it give more rounds"
            )

    def _require_possible(self) -> None:
        """Refuse a peer that cannot have come so far: others would count as late, and be moved on to where it is."""
        had = self._had()
        for peer in self._alive:
            known = self._told.done.get(peer, -1)
            for number in range(max(known, min(had.values())) + 1, self._finished[peer] + 1):
                if self._was_moved_past(peer, number):
                    continue
                for source in self._plan[number].mixing.sources(peer):
                    if (
                        source in had
                        and self._jump(source, had[source]) < number  # a late one publishes for a later exchange
                        and (source, peer, number) not in self._told.without
                        and not self._was_moved_past(source, number)
                    ):
                        raise SetupError(
                            f"nothing was trained. peer {peer} says that it has finished exchange "
                            f"{self._finished[peer]}, for which it needed in exchange {number} what peer {source} has "
                            f"not published: that one has come to exchange {had[source]}, and the record does not say "
                            f"that peer {peer} went on without it. Either its files peer-{peer}-*.checkpoint are not "
                            f"of this run, or the record has lost its last lines: then remove those from "
                            f"{number:08} on there"
                        )

    def _fault(self, peer: int) -> tuple[int, int] | None:
        """Return the first exchange for which a peer lacks what a source has published, and the source."""
        for exchange in range(self._coming[peer], min(len(self._plan), max(self._coming) + 1)):
            for source in self._plan[exchange].mixing.sources(peer):
                if (
                    self._coming[source] >= exchange
                    and source not in self._told.failed
                    and exchange not in self._published[source]
                    and not self._was_moved_past(source, exchange)
                ):
                    return exchange, source
        return None

    def _was_moved_past(self, source: int, exchange: int) -> bool:
        """Whether a peer published nothing for an exchange, because it was late or had not begun."""
        return exchange <= self._told.began.get(source, -1) or any(
            number < exchange < to for number, to in self._told.jumps.get(source, {}).items() if to > number + 1
        )

    def _describe(self, peer: int, exchange: int, source: int) -> str:
        mine, theirs = self._standings[peer], self._standings[source]
        return (
            f"peer {peer} ({_had(mine, self._finished[peer])}) needs for exchange {exchange} what peer {source} "
            f"published in exchange {exchange - 1} ({_had(theirs, self._finished[source])})"
        )

    def _waiting(self) -> list[Publication[T]]:
        found = []
        for source in self._peers:
            for exchange, number in sorted(self._published[source].items()):
                every = self._plan[exchange].mixing.readers(source) if exchange < len(self._plan) else ()
                readers = frozenset(r for r in every if r not in self._told.failed and self._coming[r] <= exchange)
                newest = number == self._finished[source] and source not in self._told.failed
                if readers or newest:
                    found.append(Publication[T](source, number, exchange, readers))
        return found

    def _read_before(self) -> dict[int, list[tuple[int, int]]]:
        return {
            reader: [
                (source, self._published[source][self._finished[reader]])
                for source in self._plan[self._finished[reader]].mixing.sources(reader)
                if self._finished[reader] in self._published[source]
            ]
            for reader in self._alive
            if self._finished[reader] >= 0
        }

    def _repeats(self) -> dict[int, int]:
        """Return up to where each peer had come, as its files, the record and its readers show it."""
        had = self._had()
        for reader in self._alive:
            read = self._finished[reader]
            for source in self._plan[read].mixing.sources(reader) if read > 0 else ():
                is_there = source in had and self._jump(source, had[source]) < read
                if is_there and not self._was_moved_past(source, read):
                    had[source] = read - 1
        return {peer: number for peer, number in had.items() if number > self._finished[peer]}

    def _had(self) -> dict[int, int]:
        """Return up to where each peer had come, as its files and the record show it."""
        return {
            peer: max(self._finished[peer], min(self._end - 1, max(self._told.done.get(peer, -1),
                                                                   *self._standings[peer].lost, -1)))
            for peer in self._alive
        }  # fmt: skip

    def _undelivered(self) -> list[tuple[str, int, int]]:
        first = min((self._coming[peer] for peer in self._alive), default=0)
        if not self._told.missed or first >= len(self._plan):
            return []
        last = self._plan.round_of(first) + 1
        numbers = range(first, len(self._plan))
        soon = {self._plan[n].name for n in numbers if self._plan.round_of(n) <= last}
        return [(name, source, reader) for name in sorted(soon) for source, reader in sorted(self._told.missed)]


def _had(standing: Standing, finished: int) -> str:
    has = f"goes on from exchange {finished}" if finished >= 0 else "has no checkpoint"
    lost = ", ".join(map(str, sorted(standing.lost)))
    return f"{has}; damaged or missing: {lost}" if lost else has
