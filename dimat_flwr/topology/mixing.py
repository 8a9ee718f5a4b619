"""Mixing matrices: how much each peer gives to its neighbours' models. Sparse: memory grows with the edges."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from dimat_flwr.topology.errors import TopologyError
from dimat_flwr.topology.fastest_mixing import fastest_mixing
from dimat_flwr.topology.row import Row, Sums

if TYPE_CHECKING:
    import networkx as nx

Weighting = Literal["uniform", "metropolis_hastings", "fastest_mixing", "column_stochastic"]
Edges = NDArray[np.int32]  # shape (E, 2): source j, reader i
_TOLERANCE = 1e-9
_MOST_PEERS_OPTIMIZED = 64  # with all links about five seconds


class Mixing:
    """The mixing matrix W of one exchange over N peers; immutable, and equal to nothing but itself.

    ``W[i, j]`` is the weight peer i gives to what peer j sent. Every edge j -> i is a message, whatever its weight.
    Which sums of W are 1 is looked up, not promised: ``row_stochastic``, ``column_stochastic``.

    Attributes:
        peers: N.
        row_stochastic: whether every row sums to 1 (within 1e-9): each peer averages.
        column_stochastic: whether every column does: each peer splits its mass (push-sum).
    """

    def __init__(self, own: NDArray[np.float64], edges: Edges, weights: NDArray[np.float64]) -> None:
        """Build a matrix from its diagonal and its edges.

        Args:
            own: shape (N,), the diagonal W_ii.
            edges: shape (E, 2): source j, reader i; in any order, no self loop, no edge twice.
            weights: shape (E,), W_ij of each edge.

        Raises:
            TopologyError: no peers, an edge that cannot be, or a weight that is negative or not finite.
        """
        own, weights = np.array(own, dtype=np.float64), np.asarray(weights, dtype=np.float64)
        edges = checked_edges(edges, len(own))
        if len(weights) != len(edges):
            raise TopologyError(f"{len(edges)} edges need as many weights, not {len(weights)}")
        if not (np.isfinite(own).all() and np.isfinite(weights).all()) or (own < 0).any() or (weights < 0).any():
            raise TopologyError("a mixing matrix has finite entries >= 0 only; check the weights given")
        order = np.lexsort((edges[:, 0], edges[:, 1]))  # by reader, then by source
        self._sources = np.ascontiguousarray(edges[order, 0])
        self._weights = weights[order]
        self._first_source = _offsets(edges[:, 1], len(own))
        order = np.lexsort((edges[:, 1], edges[:, 0]))
        self._readers = np.ascontiguousarray(edges[order, 1])
        self._first_reader = _offsets(edges[:, 0], len(own))
        self._own = own
        self.peers = len(own)
        rows = own + np.bincount(edges[:, 1], weights=weights, minlength=len(own))
        columns = own + np.bincount(edges[:, 0], weights=weights, minlength=len(own))
        self._row_sums, self._column_sums = rows, columns
        self.row_stochastic = bool((np.abs(rows - 1) <= _TOLERANCE).all())
        self.column_stochastic = bool((np.abs(columns - 1) <= _TOLERANCE).all())
        for array in (self._sources, self._weights, self._readers, self._own, rows, columns):
            array.flags.writeable = False

    @classmethod
    def identity(cls, n: int) -> Self:
        """Return the matrix of n peers that exchange nothing."""
        return cls(np.ones(n), np.empty((0, 2), np.int32), np.empty(0))

    @classmethod
    def complete(cls, n: int) -> Self:
        """Return the matrix of n peers that all average everyone uniformly, 1/n each."""
        return cls.from_edges(n, complete_edges(n), "uniform")

    @classmethod
    def from_dense(cls, matrix: NDArray[np.float64]) -> Self:
        """Return the matrix with these entries, shape (N, N); an edge is where an entry off the diagonal is not 0."""
        matrix = np.asarray(matrix, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise TopologyError(f"a mixing matrix has shape (N, N) with N >= 1, not {matrix.shape}")
        off = matrix.copy()
        np.fill_diagonal(off, 0)
        readers, sources = np.nonzero(off)
        return cls(np.diag(matrix), np.stack([sources, readers], axis=1).astype(np.int32), off[readers, sources])

    @classmethod
    def from_graph(cls, graph: "nx.DiGraph", weighting: Weighting) -> Self:
        """Weigh the edges of a networkx graph with the nodes 0..N-1; see ``from_edges``."""
        return cls.from_edges(graph.number_of_nodes(), graph.edges, weighting)

    @classmethod
    def from_edges(cls, n: int, edges: Edges | Iterable[tuple[int, int]], weighting: Weighting) -> Self:
        """Weigh a graph's edges.

        Args:
            n: the number of peers.
            edges: (source j, reader i) where i reads from j; an array of shape (E, 2) or pairs; no self loops.
            weighting: ``uniform``: 1/(in-degree + 1), each peer itself included (DIMAT: 1/3 on a ring).
                ``metropolis_hastings``: 1/(1 + max(deg_i, deg_j)) and the rest for the peer itself, which makes W
                symmetric and doubly stochastic (Xiao, Boyd & Kim 2007). ``fastest_mixing``: the symmetric weights
                >= 0 with the largest spectral gap, for up to 64 peers (Boyd, Diaconis & Xiao 2004; see
                ``fastest_mixing``). ``column_stochastic``: 1/(out-degree of the source + 1), the source itself
                included (push-sum, Assran et al. 2019).

        Raises:
            TopologyError: ``metropolis_hastings`` or ``fastest_mixing`` on a graph with an edge that has no way back,
                ``fastest_mixing`` for more than 64 peers, or see ``Mixing``.
        """
        edges = checked_edges(edges, n)
        sources, readers = edges[:, 0], edges[:, 1]
        if weighting == "uniform":
            share = 1 / (1 + np.bincount(readers, minlength=n))
            return cls(share, edges, share[readers])
        if weighting == "column_stochastic":
            share = 1 / (1 + np.bincount(sources, minlength=n))
            return cls(share, edges, share[sources])
        if weighting not in ("metropolis_hastings", "fastest_mixing"):
            raise TopologyError(f"there is no weighting {weighting!r}; choose {', '.join(get_args(Weighting))}")
        _require_way_back(edges, n, weighting)
        if weighting == "metropolis_hastings":
            degree = np.bincount(readers, minlength=n)
            weights = 1 / (1 + np.maximum(degree[sources], degree[readers]))
        else:
            if n > _MOST_PEERS_OPTIMIZED:
                raise TopologyError(
                    f"fastest_mixing optimizes the weights of at most {_MOST_PEERS_OPTIMIZED} peers, not {n}; set "
                    "topology.weighting to metropolis_hastings"
                )
            links = edges[sources < readers]
            edges, weights = np.concatenate([links, links[:, ::-1]]), np.tile(fastest_mixing(n, links), 2)
        given = np.bincount(edges[:, 1], weights=weights, minlength=n)
        return cls(np.maximum(0.0, 1 - given), edges, weights)  # rounding must not make an own weight negative

    @classmethod
    def unweighted(cls, graph: "nx.DiGraph") -> Self:
        """Return the matrix of a networkx graph (nodes 0..N-1) whose edges only say who reads whom.

        Every edge weighs 1 and every peer gives 0 to itself, for algorithms that do not mix by W (sums: none).
        """
        n, edges = graph.number_of_nodes(), checked_edges(graph.edges, graph.number_of_nodes())
        return cls(np.zeros(n), edges, np.ones(len(edges)))

    @property
    def edge_count(self) -> int:
        """The number of edges E."""
        return len(self._sources)

    @property
    def edges(self) -> list[tuple[int, int]]:
        """All (source j, reader i), sorted."""
        return sorted(zip(self._sources.tolist(), self._row_index().tolist(), strict=True))

    def edge_array(self) -> Edges:
        """Return all (source j, reader i), shape (E, 2), ordered by reader and then by source."""
        return np.stack([self._sources, self._row_index()], axis=1)

    def sources(self, i: int) -> tuple[int, ...]:
        """Return the peers that i reads from, ascending."""
        i = self._index(i)
        return tuple(self._sources[self._first_source[i] : self._first_source[i + 1]].tolist())

    def readers(self, j: int) -> tuple[int, ...]:
        """Return the peers that read from j, ascending."""
        j = self._index(j)
        return tuple(self._readers[self._first_reader[j] : self._first_reader[j + 1]].tolist())

    def row(self, i: int, sums: Sums = "rows") -> Row:
        """Return what peer i gives to its own and to its sources' payloads; ``sums`` is noted in the row."""
        i = self._index(i)
        part = slice(self._first_source[i], self._first_source[i + 1])
        weights = dict(zip(self._sources[part].tolist(), self._weights[part].tolist(), strict=True))
        return Row(float(self._own[i]), weights, sums)

    def dense(self) -> NDArray[np.float64]:
        """Return W, shape (N, N): ``dense()[i, j]`` is the weight peer i gives to peer j."""
        matrix = np.diag(self._own)
        matrix[self._row_index(), self._sources] = self._weights
        return matrix

    def reversed(self, weighting: Weighting | None = None) -> "Mixing":
        """Return the graph with every edge turned round, unweighted unless a weighting is given.

        For answers that go back to where the question came from (a gradient at a neighbour's model).
        """
        edges = self.edge_array()[:, ::-1]
        if weighting is not None:
            return Mixing.from_edges(self.peers, edges, weighting)
        return Mixing(np.zeros(self.peers), edges, np.ones(len(edges)))

    def placed(self, places: Sequence[int], peers: int) -> "Mixing":
        """Return the same matrix among some of more peers; the others exchange nothing and keep what they have.

        Args:
            places: the indices that peers 0, 1, ... of this matrix have there, ascending.
            peers: how many there are.
        """
        if len(places) == peers:
            return self
        own, at = np.ones(peers), np.asarray(places, np.int32)
        own[at] = self._own
        return Mixing(own, at[self.edge_array()], self._weights)

    def among(self, peers: Sequence[int]) -> "Mixing":
        """Return the edges between some peers alone; weights stay what they are."""
        kept = np.isin(self.edge_array(), np.asarray(peers)).all(axis=1)
        return self if kept.all() else Mixing(self._own, self.edge_array()[kept], self._weights[kept])

    def without_sources(self, silent: Sequence[int], sums: Sums) -> "Mixing":
        """Return the matrix where nobody reads from some; rows are scaled as ``Row.restricted_to`` does it."""
        kept = ~np.isin(self._sources, np.asarray(silent))
        if kept.all():
            return self
        own, edges, weights = self._own.copy(), self.edge_array()[kept], self._weights[kept]
        if sums == "rows":
            left = own + np.bincount(edges[:, 1], weights=weights, minlength=self.peers)
            factor = np.where(left > 0, self._row_sums / np.where(left > 0, left, 1), 1)
            own, weights = np.where(left > 0, own * factor, 1.0), weights * factor[edges[:, 1]]
        return Mixing(own, edges, weights)

    def graph(self) -> "nx.DiGraph":
        """Return the edges as a frozen networkx graph over the nodes 0..N-1."""
        import networkx as nx  # a tenth of a second of start-up, for those that ask

        graph = nx.DiGraph()
        graph.add_nodes_from(range(self.peers))
        graph.add_edges_from(self.edges)
        return nx.freeze(graph)

    def is_symmetric(self) -> bool:
        """Return whether W_ij = W_ji for all i and j, within 1e-9."""
        readers = self._row_index()
        order = np.lexsort((readers, self._sources))
        there_and_back = np.array_equal(self._sources[order], readers) and np.array_equal(readers[order], self._sources)
        return there_and_back and bool((np.abs(self._weights[order] - self._weights) <= _TOLERANCE).all())

    def is_like(self, other: "Mixing") -> bool:
        """Return whether another matrix has the same edges and the very same entries."""
        return self is other or all(
            np.array_equal(mine, theirs)
            for mine, theirs in (
                (self._own, other._own),
                (self.edge_array(), other.edge_array()),
                (self._weights, other._weights),
            )
        )

    def wrong_sums(self, sums: Sums) -> list[tuple[int, float]]:
        """Return (peer, sum) for each of W's ``sums`` that is not 1."""
        if sums == "none" or (self.row_stochastic if sums == "rows" else self.column_stochastic):
            return []
        totals = self._row_sums if sums == "rows" else self._column_sums
        return [(int(i), float(totals[i])) for i in np.flatnonzero(np.abs(totals - 1) > _TOLERANCE)]

    def _row_index(self) -> NDArray[np.int32]:
        """Return the reader of each edge, in the order of ``_sources``."""
        return np.repeat(np.arange(self.peers, dtype=np.int32), np.diff(self._first_source))

    def _index(self, i: int) -> int:
        """Refuse the negative indices that numpy would quietly count from the end."""
        if not 0 <= i < self.peers:
            raise IndexError(f"there is no peer {i}: peers are 0..{self.peers - 1}")
        return i


def complete_edges(n: int) -> Edges:
    """Return all pairs of n different peers, shape (n * (n - 1), 2)."""
    others = np.arange(n * max(0, n - 1), dtype=np.int32).reshape(n, max(0, n - 1)) % max(1, n - 1)
    readers = np.repeat(np.arange(n, dtype=np.int32), max(0, n - 1))
    sources = others.reshape(-1)
    sources += sources >= readers  # skip the peer itself
    return np.stack([sources, readers], axis=1)


def checked_edges(edges: Any, n: int) -> Edges:
    """Return edges (an array of shape (E, 2) or pairs of whole numbers) as an array.

    Raises:
        TopologyError: n < 1, something else than pairs of whole numbers, a peer that does not exist, a self loop or
            an edge that is there twice.
    """
    if n < 1:
        raise TopologyError(f"a mixing matrix needs at least 1 peer, not {n}")
    try:
        found = np.asarray(edges if isinstance(edges, np.ndarray) else list(edges))
    except (TypeError, ValueError) as error:
        raise TopologyError(f"edges are pairs (source, reader) of peers, not {_shown(edges)}") from error
    if found.size == 0:
        return np.empty((0, 2), np.int32)
    if found.ndim != 2 or found.shape[1] != 2 or not np.issubdtype(found.dtype, np.integer):
        raise TopologyError(f"edges are pairs (source, reader) of peers 0..{n - 1}, not {_shown(edges)}")
    if found.min() < 0 or found.max() >= n:
        unknown = sorted({int(peer) for peer in np.unique(found) if not 0 <= peer < n})
        raise TopologyError(f"edges name peers that do not exist: {unknown[:5]}; {n} peers are 0..{n - 1}")
    loops = found[found[:, 0] == found[:, 1], 0]
    if len(loops):
        raise TopologyError(
            f"peers {sorted(set(loops.tolist()))[:5]} have edges to themselves; leave self loops out, every peer has "
            "its own payload anyway"
        )
    keys = np.sort(found[:, 0].astype(np.int64) * n + found[:, 1])
    twice = keys[1:][keys[1:] == keys[:-1]]
    if len(twice):
        raise TopologyError(f"the edge {twice[0] // n}->{twice[0] % n} is there twice; name every edge once")
    return found.astype(np.int32, copy=False)


def _offsets(owners: NDArray[np.int32], n: int) -> NDArray[np.int64]:
    """Return where each owner's part starts in an array ordered by owner, shape (n + 1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=n))])


def _require_way_back(edges: Edges, n: int, weighting: Weighting) -> None:
    there = edges[:, 0].astype(np.int64) * n + edges[:, 1]
    back = edges[:, 1].astype(np.int64) * n + edges[:, 0]
    one_way = np.sort(there[~np.isin(there, back)])
    if len(one_way):
        listed = ", ".join(f"{key // n}->{key % n}" for key in one_way[:5]) + (", ..." if len(one_way) > 5 else "")
        raise TopologyError(
            f"{weighting} needs a symmetric graph, but these edges have no way back: {listed}; "
            "set topology.weighting to auto or uniform (or column_stochastic for push-sum)"
        )


def _shown(edges: object) -> str:
    text = repr(edges)
    return text if len(text) <= 80 else text[:77] + "..."
