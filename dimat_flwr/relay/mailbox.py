"""Payloads waiting for their readers. The relay holds references to them and never looks inside."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
MOST_UNREAD = 2  # payloads that may wait on one edge
_REMEMBERED = 2  # exchanges of a reader: the one that it works on, and the one before, should that be lost with it


@dataclass
class _Waiting(Generic[T]):
    number: int
    contents: Mapping[int, T]
    readers: set[int]


class Mailbox(Generic[T]):
    """What peers published and who has yet to read it; dropped after the last reader.

    At most ``MOST_UNREAD`` wait on one edge: a third pushes out the oldest. Who publishes is held back before that
    happens, so this meets late readers only.

    It also remembers, without the contents, what readers took last: a reader that loses its newest checkpoint has to
    be given that again.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, dict[int, _Waiting[T]]] = {}  # source -> exchange -> what it published
        self._pushed_out: dict[tuple[int, int], int] = {}  # (source, reader) -> the newest exchange pushed out
        # Reader -> by exchange, the last ones: (source, the number of the source's exchange in which it published).
        self._readings: dict[int, list[list[tuple[int, int]]]] = {}
        self._remembered: dict[int, Counter[int]] = {}  # source -> number -> in how many readings it is

    def put(self, source: int, number: int, exchange: int, contents: Mapping[int, T],
            readers: set[int]) -> list[tuple[int, int]]:  # fmt: skip
        """Keep what ``source`` published for an exchange.

        Args:
            source: who published.
            number: in which exchange of its own.
            exchange: the exchange in which it is read.
            contents: reader -> content (many may share one object).
            readers: who will read; those without a content will find that there is none for them.

        Returns:
            (exchange, reader) of what this pushed out unread.
        """
        pushed_out = []
        for reader in readers:
            waiting = self._unread(source, reader)
            if len(waiting) >= MOST_UNREAD:
                self._pushed_out[source, reader] = min(waiting)
                self._read(source, min(waiting), reader)
                pushed_out.append((self._pushed_out[source, reader], reader))
        self.put_back(source, number, exchange, contents, readers)
        return pushed_out

    def put_back(self, source: int, number: int, exchange: int, contents: Mapping[int, T], readers: set[int]) -> None:
        """Keep the same in a run that is gone on with, however many wait: a reader that went back needs all."""
        if readers:
            self._waiting.setdefault(source, {})[exchange] = _Waiting(number, contents, set(readers))

    def begin(self, reader: int) -> None:
        """Take note that a reader begins an exchange: what it read in the one before the last is not needed again."""
        readings = self._readings.setdefault(reader, [])
        readings.append([])
        if len(readings) > _REMEMBERED:
            self._release(readings.pop(0))

    def take(self, source: int, exchange: int, reader: int) -> tuple[bool, T | None]:
        """Return whether ``source`` answered for this exchange and reader, and with what (None: with nothing)."""
        entry = self._waiting.get(source, {}).get(exchange)
        if entry is None or reader not in entry.readers:
            return False, None
        content = entry.contents.get(reader)
        self.remember(reader, source, entry.number)
        self._read(source, exchange, reader)
        return True, content

    def has(self, source: int, exchange: int, reader: int) -> bool:
        """Whether something waits for a reader; see ``take``."""
        entry = self._waiting.get(source, {}).get(exchange)
        return entry is not None and reader in entry.readers and reader in entry.contents

    def remember(self, reader: int, source: int, number: int) -> None:
        """Take note that a reader took, in the exchange it began last, what a source published in one of its own."""
        self._readings[reader][-1].append((source, number))
        self._remembered.setdefault(source, Counter())[number] += 1

    def needed(self, source: int) -> tuple[int, ...]:
        """Return the source's exchanges in which it published what somebody has yet to read, or may read again."""
        waiting = {entry.number for entry in self._waiting.get(source, {}).values()}
        return tuple(sorted(waiting | self._remembered.get(source, Counter()).keys()))

    def pushed_out(self, source: int, exchange: int, reader: int) -> bool:
        """Whether the reader was too late for what ``source`` published for it in this exchange."""
        return exchange <= self._pushed_out.get((source, reader), -1)

    def unread(self, source: int, reader: int) -> int:
        """Return how many contents of ``source`` wait for ``reader``."""
        return len(self._unread(source, reader))

    def forget_reader(self, reader: int, before: int | None = None) -> list[tuple[int, int]]:
        """Stop keeping payloads for a peer that will not read them: all, or those of exchanges before one.

        Returns:
            (source, exchange) of what is not kept any more.
        """
        forgotten = [
            (source, exchange)
            for source in self._waiting
            for exchange in self._unread(source, reader)
            if before is None or exchange < before
        ]
        for source, exchange in forgotten:
            self._read(source, exchange, reader)
        if before is None:
            for reading in self._readings.pop(reader, ()):
                self._release(reading)
        return forgotten

    def __len__(self) -> int:
        """Return the number of publications kept."""
        return sum(map(len, self._waiting.values()))

    def _unread(self, source: int, reader: int) -> list[int]:
        return [number for number, entry in self._waiting.get(source, {}).items() if reader in entry.readers]

    def _read(self, source: int, exchange: int, reader: int) -> None:
        entries = self._waiting[source]
        entries[exchange].readers.discard(reader)
        if not entries[exchange].readers:
            del entries[exchange]
            if not entries:
                del self._waiting[source]

    def _release(self, reading: list[tuple[int, int]]) -> None:
        for source, number in reading:
            counts = self._remembered[source]
            counts[number] -= 1
            if not counts[number]:
                del counts[number]
