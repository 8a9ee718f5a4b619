"""Atoms: labels of the places a permutation may move, and the union-find that ties them together.

Every element of every traced value carries an atom; elements with the same atom move together. Tying two atoms is
always safe (it leaves fewer permutations), so whatever is not understood is tied rather than guessed.
"""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

FIXED = 0  # never moves: network inputs, constants, class scores
UNIFORM = 1  # the same value wherever it stands, such as padding: free to meet any atom
_FIRST = 2


def count_distinct(atoms: Ints) -> int:
    """Return how many different numbers there are. Sorting takes a fraction of np.unique's hashing."""
    ordered = np.sort(atoms, axis=None)
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + min(1, ordered.size)


class Atoms:
    """Union-find over integers, vectorized; the root of a class is its smallest atom, so FIXED absorbs."""

    def __init__(self) -> None:
        self._parent: Ints = np.arange(_FIRST, dtype=np.int64)
        self._count = _FIRST

    @property
    def count(self) -> int:
        """How many atoms there are."""
        return self._count

    def new(self, shape: tuple[int, ...]) -> Ints:
        """Return an array of fresh atoms, ascending in row-major order."""
        size = int(np.prod(shape, dtype=np.int64))
        needed = self._count + size
        if needed > len(self._parent):
            grown = np.arange(max(needed, 2 * len(self._parent)), dtype=np.int64)
            grown[: self._count] = self._parent[: self._count]
            self._parent = grown
        fresh = np.arange(self._count, needed, dtype=np.int64)
        self._count = needed
        return fresh.reshape(shape)

    def find(self, atoms: Ints) -> Ints:
        """Return the class (its smallest atom) of each atom."""
        parent = self._parent
        roots = parent[atoms]
        while True:
            above = parent[roots]
            if np.array_equal(above, roots):
                break
            roots = parent[above]
        parent[atoms] = roots
        return roots

    def union(self, left: Ints, right: Ints) -> None:
        """Tie ``left`` to ``right`` elementwise (broadcasting), except where either is UNIFORM."""
        left, right = np.broadcast_arrays(left, right)
        keep = (left != UNIFORM) & (right != UNIFORM) & (left != right)
        a, b = left[keep], right[keep]
        while a.size:
            a, b = self.find(a), self.find(b)
            apart = a != b
            a, b = a[apart], b[apart]
            low, high = np.minimum(a, b), np.maximum(a, b)
            np.minimum.at(self._parent, high, low)
            a, b = low, high
