"""What the dispatcher orders: that one peer starts one exchange."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from dimat_flwr.events import Absence
from dimat_flwr.topology import Row

T = TypeVar("T")


@dataclass(frozen=True)
class Dispatch(Generic[T]):
    """One peer may start one exchange.

    Attributes:
        peer: who.
        exchange: its number in the plan.
        payloads: source -> what it published for this peer, ascending.
        row: the peer's row of W over itself and ``payloads``.
        readers: who will read what this exchange makes the peer publish, ascending.
        behind: those of them who did not get what the peer published last for an exchange of that name.
        absent: sources whose payload is missing -> ``failed`` (out of the run), ``late`` or ``rejected`` (it
            answered without a payload for this peer).
        missed: those of ``absent`` that were in time: this peer itself was too late for their payload.
        after: the exchange that the peer finished last, -1 for none.
        keep: earlier exchanges of the peer in which it published what somebody may still have to read, ascending.
        joins: whether the peer comes new and begins with this exchange.
    """

    peer: int
    exchange: int
    payloads: Mapping[int, T]
    row: Row
    readers: tuple[int, ...]
    absent: Mapping[int, Absence]
    missed: frozenset[int] = frozenset()
    behind: tuple[int, ...] = ()
    after: int = -1
    keep: tuple[int, ...] = ()
    joins: bool = False
