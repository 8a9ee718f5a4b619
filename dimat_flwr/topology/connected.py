"""Which peers can all reach each other."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from dimat_flwr.topology.mixing import Edges


def strong_parts(peers: int, edges: Edges, among: Iterable[int] | None = None) -> list[list[int]]:
    """Return the strongly connected components of a graph: the sets of peers that all hear of each other in the end.

    Args:
        peers: the number of peers N.
        edges: (source, reader), shape (E, 2), an edge may be there more than once.
        among: look at these peers and the edges between them only; None for all.

    Returns:
        Ascending lists of peers, in order of their first.
    """
    left = np.ones(peers, dtype=bool)
    if among is not None:
        left[:] = False
        left[list(among)] = True
    downstream, upstream = _Neighbours(peers, edges[:, 0], edges[:, 1]), _Neighbours(peers, edges[:, 1], edges[:, 0])
    parts = []
    # Forward and backward search from one peer at a time: one round of it where the graph is whole, as it should be.
    while left.any():
        first = int(left.argmax())
        part = downstream.reached(first, left) & upstream.reached(first, left)
        parts.append(np.flatnonzero(part).tolist())
        left &= ~part
    return parts


class _Neighbours:
    """Each peer's neighbours in one direction, as two arrays: they may be a million."""

    def __init__(self, peers: int, of: NDArray[np.int32], neighbour: NDArray[np.int32]) -> None:
        self._all = neighbour[np.argsort(of, kind="stable")]
        self._first = np.concatenate([[0], np.cumsum(np.bincount(of, minlength=peers))]).tolist()

    def reached(self, first: int, within: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which peers of ``within``, shape (N,), can be reached from one of them without leaving it."""
        found = np.zeros_like(within)
        found[first] = True
        waiting = [first]
        while waiting:
            peer = waiting.pop()
            near = self._all[self._first[peer] : self._first[peer + 1]]
            fresh = np.unique(near[within[near] & ~found[near]])
            found[fresh] = True
            waiting += fresh.tolist()
        return found
