"""The record of a merge whose weights are not those of the row, by the algorithm that chose them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dimat_flwr.algorithms.interface import Inbox, Peer
from dimat_flwr.events import Merge


@contextmanager
def recorded_merge(peer: Peer, inbox: Inbox, weights: Sequence[float]) -> Iterator[None]:
    """Record what is done within as a merge of the inbox, if there is anything in it.

    Args:
        peer: who merges.
        inbox: what arrived.
        weights: (1 + sources,), the peer's own first.
    """
    began = time.perf_counter()
    yield
    if inbox:
        seconds = round(time.perf_counter() - began, 3)
        peer.record(Merge(sources=list(inbox), weights=list(weights), seconds=seconds))
