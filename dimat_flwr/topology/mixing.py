"""Mixing matrices: how much each peer gives to its neighbours' models."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Self

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from dimat_flwr.topology.errors import TopologyError

Weights = Literal["uniform", "metropolis_hastings", "column_stochastic"]
Sums = Literal["rows", "columns"]
_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Mixing:
    """The mixing matrix W of one exchange.

    Attributes:
        matrix: shape (N, N), read-only; ``matrix[i, j]`` is the weight peer i gives to peer j's model.
        sums: which sums are 1: ``"rows"`` (every peer averages), ``"columns"`` (every peer splits its mass, push-sum).

    Raises:
        TopologyError: the matrix is not square, has an entry that is negative or not finite, or sums other than 1.
    """

    matrix: NDArray[np.float64]
    sums: Sums = "rows"

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
            raise TopologyError(f"a mixing matrix has shape (N, N) with N >= 1, not {matrix.shape}")
        if not np.isfinite(matrix).all() or (matrix < 0).any():
            raise TopologyError("a mixing matrix has finite entries >= 0 only; check the weights given")
        totals = matrix.sum(axis=1 if self.sums == "rows" else 0)
        wrong = np.flatnonzero(np.abs(totals - 1) > _TOLERANCE)
        if wrong.size:
            found = ", ".join(f"peer {i}: {totals[i]:.6g}" for i in wrong)
            raise TopologyError(f"the {self.sums} of a mixing matrix must sum to 1, but these do not: {found}")
        matrix.flags.writeable = False
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def identity(cls, n: int) -> Self:
        """Return the matrix of n peers that exchange nothing."""
        return cls(np.eye(n))

    @classmethod
    def complete(cls, n: int) -> Self:
        """Return the matrix of n peers that all average everyone uniformly, 1/n each."""
        if n < 1:
            raise TopologyError(f"a mixing matrix needs at least 1 peer, not {n}")
        return cls(np.full((n, n), 1 / n))

    @classmethod
    def from_graph(cls, graph: nx.DiGraph, weights: Weights) -> Self:
        """Weigh a graph's edges.

        Args:
            graph: nodes 0..N-1, edge j->i where i receives from j, no self loops.
            weights: ``uniform``: 1/(in-degree + 1), each peer itself included (DIMAT: 1/3 on a ring).
                ``metropolis_hastings``: 1/(1 + max(deg_i, deg_j)) and the rest for the peer itself, which makes W
                symmetric and doubly stochastic (Xiao, Boyd & Kim 2007). ``column_stochastic``: 1/(out-degree of the
                sender + 1), the sender itself included (push-sum, Assran et al. 2019).

        Raises:
            TopologyError: ``metropolis_hastings`` on a graph with an edge that has no way back.
        """
        n = graph.number_of_nodes()
        receives = nx.to_numpy_array(graph, nodelist=range(n), weight=None).T  # receives[i, j] = 1: i receives from j
        if weights == "uniform":
            with_self = receives + np.eye(n)
            return cls(with_self / with_self.sum(axis=1, keepdims=True))
        if weights == "column_stochastic":
            with_self = receives + np.eye(n)
            return cls(with_self / with_self.sum(axis=0, keepdims=True), sums="columns")
        one_way = sorted((j, i) for j, i in graph.edges if not graph.has_edge(i, j))
        if one_way:
            listed = ", ".join(f"{j}->{i}" for j, i in one_way[:5]) + (", ..." if len(one_way) > 5 else "")
            raise TopologyError(
                f"metropolis_hastings weights need a symmetric graph, but these edges have no way back: {listed}; "
                "choose weights: uniform (or column_stochastic for sgp)"
            )
        degree = receives.sum(axis=1)
        matrix = receives / (1 + np.maximum.outer(degree, degree))
        return cls(matrix + np.diag(1 - matrix.sum(axis=1)))

    @property
    def peers(self) -> int:
        """The number of peers N."""
        return int(self.matrix.shape[0])

    @property
    def edges(self) -> list[tuple[int, int]]:
        """All (source j, target i) with ``matrix[i, j] > 0`` and i != j, sorted."""
        return sorted((int(j), int(i)) for i, j in np.argwhere(self.matrix > 0) if i != j)

    def in_neighbours(self, i: int) -> list[int]:
        """Return the peers that i receives from, without i itself, ascending."""
        return [int(j) for j in np.flatnonzero(self.matrix[self._index(i)]) if j != i]

    def out_neighbours(self, i: int) -> list[int]:
        """Return the peers that receive from i, without i itself, ascending."""
        return [int(j) for j in np.flatnonzero(self.matrix[:, self._index(i)]) if j != i]

    def row(self, i: int) -> dict[int, float]:
        """Return the weights that i gives: its in-neighbours' and always its own, keys ascending."""
        return {j: float(self.matrix[i, j]) for j in sorted([*self.in_neighbours(i), i])}

    def _index(self, i: int) -> int:
        """Refuse the negative indices that numpy would quietly count from the end."""
        if not 0 <= i < self.peers:
            raise IndexError(f"there is no peer {i}: peers are 0..{self.peers - 1}")
        return i


def renormalize(row: Mapping[int, float], present: Collection[int]) -> dict[int, float]:
    """Return a row over the peers that are present, scaled to sum to 1 again.

    For rows of a row-stochastic matrix. Push-sum rows need none of it: what did not arrive is missing from the
    model and from its weight alike.

    Args:
        row: weights by peer, the receiving peer itself among them (see ``Mixing.row``).
        present: the peers whose models are at hand, the receiving peer itself among them.

    Raises:
        TopologyError: nobody of the row is present, or only peers of weight 0.
    """
    kept = {j: weight for j, weight in row.items() if j in present}
    total = sum(kept.values())
    if total <= 0:
        raise TopologyError(
            f"no peer of the row {sorted(row)} with a weight above 0 is present ({sorted(present)}); "
            "the receiving peer itself must be in both"
        )
    return {j: weight / total for j, weight in kept.items()}
