"""Payloads waiting for their readers. The relay holds references to them and never looks inside."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class _Waiting(Generic[T]):
    contents: Mapping[int, T]
    readers: set[int]


class Mailbox(Generic[T]):
    """What peers published and who has yet to read it; dropped after the last reader."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, int], _Waiting[T]] = {}

    def put(self, source: int, step: int, contents: Mapping[int, T]) -> None:
        """Keep what ``source`` published for exchange ``step``: reader -> content (many may share one object)."""
        if contents:
            self._waiting[source, step] = _Waiting(contents, set(contents))

    def take(self, source: int, step: int, reader: int) -> T | None:
        """Return what ``source`` published for ``reader`` in exchange ``step``, None if nothing; once per reader."""
        entry = self._waiting.get((source, step))
        if entry is None or reader not in entry.readers:
            return None
        content = entry.contents[reader]
        self._read(source, step, reader)
        return content

    def forget_reader(self, reader: int, before_step: int | None = None) -> None:
        """Stop keeping payloads for a peer that will not read them: all, or those of exchanges before a step."""
        for source, step in list(self._waiting):
            if before_step is None or step < before_step:
                self._read(source, step, reader)

    def __len__(self) -> int:
        """Return the number of payloads kept."""
        return len(self._waiting)

    def _read(self, source: int, step: int, reader: int) -> None:
        entry = self._waiting[source, step]
        entry.readers.discard(reader)
        if not entry.readers:
            del self._waiting[source, step]
