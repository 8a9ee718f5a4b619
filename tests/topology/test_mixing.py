"""Mixing matrices against definitions written out peer by peer, and spectral gaps against closed forms."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimat_flwr.topology import Mixing, TopologyError, renormalize, spectral_gap
from dimat_flwr.topology.chain import Chain
from dimat_flwr.topology.exponential import Exponential
from dimat_flwr.topology.fully_connected import FullyConnected
from dimat_flwr.topology.ring import Ring
from dimat_flwr.topology.star import Star
from dimat_flwr.topology.torus import Torus


@st.composite
def directed_graphs(draw):
    n = draw(st.integers(1, 9))
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    graph = nx.DiGraph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else [])
    return graph


@settings(max_examples=60, deadline=None)
@given(graph=directed_graphs())
def test_uniform_and_column_stochastic_weights_are_their_definitions(graph):
    n = graph.number_of_nodes()
    uniform, pushed = (Mixing.from_graph(graph, w) for w in ("uniform", "column_stochastic"))
    for i in range(n):
        for j in range(n):
            sends = i == j or graph.has_edge(j, i)
            assert uniform.matrix[i, j] == pytest.approx(sends / (graph.in_degree(i) + 1))
            assert pushed.matrix[i, j] == pytest.approx(sends / (graph.out_degree(j) + 1))
    np.testing.assert_allclose(uniform.matrix.sum(axis=1), 1)
    np.testing.assert_allclose(pushed.matrix.sum(axis=0), 1)
    for mixing in (uniform, pushed):
        assert mixing.edges == sorted(graph.edges)
        for i in range(n):
            assert mixing.in_neighbours(i) == sorted(graph.predecessors(i))
            assert mixing.out_neighbours(i) == sorted(graph.successors(i))
            assert mixing.row(i) == {j: mixing.matrix[i, j] for j in range(n) if mixing.matrix[i, j] > 0}


@settings(max_examples=40, deadline=None)
@given(graph=directed_graphs())
def test_metropolis_hastings_is_symmetric_doubly_stochastic_and_its_definition(graph):
    graph = graph.to_undirected().to_directed()
    matrix = Mixing.from_graph(graph, "metropolis_hastings").matrix
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    assert (matrix.diagonal() > 0).all()
    for j, i in graph.edges:
        assert matrix[i, j] == pytest.approx(1 / (1 + max(graph.in_degree(i), graph.in_degree(j))))


def test_metropolis_hastings_names_the_edges_without_a_way_back():
    with pytest.raises(TopologyError, match=r"no way back: 0->2, 1->3, 2->4, 3->0, 4->1; choose weights: uniform"):
        Exponential(weights="metropolis_hastings").mixing(5, 0, 0)


def test_the_papers_ring_gives_a_third_to_each():
    assert Ring().mixing(5, 0, 0).row(0) == pytest.approx({0: 1 / 3, 1: 1 / 3, 4: 1 / 3})
    assert FullyConnected().mixing(5, 0, 0).row(2) == pytest.approx(dict.fromkeys(range(5), 0.2))
    assert Star().mixing(4, 0, 0).row(3) == {0: 0.5, 3: 0.5}


@settings(max_examples=25, deadline=None)
@given(n=st.integers(3, 40))
def test_ring_eigenvalues_and_gap_are_the_closed_form(n):
    expected = np.sort(1 / 3 + 2 / 3 * np.cos(2 * np.pi * np.arange(n) / n))
    np.testing.assert_allclose(np.linalg.eigvalsh(Ring().mixing(n, 0, 0).matrix), expected, atol=1e-12)
    assert Ring().spectral_gap(n, 0) == pytest.approx(1 - np.sort(np.abs(expected))[-2])


def test_other_closed_form_gaps():
    assert FullyConnected().spectral_gap(7, 0) == pytest.approx(1)
    assert spectral_gap(Mixing.identity(6).matrix) == 0
    assert spectral_gap(Mixing.complete(1).matrix) == 1
    # 3 x 3 torus, 1/5 each: eigenvalues (1 + 2 cos a + 2 cos b) / 5 with a, b multiples of 2 pi / 3
    assert Torus().spectral_gap(9, 0) == pytest.approx(1 - 2 / 5)
    # Metropolis-Hastings on a chain of 3: tridiagonal [[2,1,0],[1,1,1],[0,1,2]] / 3, eigenvalues 1, 2/3, 0
    assert Chain(weights="metropolis_hastings").spectral_gap(3, 0) == pytest.approx(1 / 3)
    # circulant, hops 1 and 2 of 4, 1/3 each: |1 + w + w^2| / 3 at w = i is 1/3, at w = -1 also 1/3
    assert Exponential().spectral_gap(4, 0) == pytest.approx(2 / 3)
    # complex eigenvalues: a rotation of 3 with weight 1/2 has |lambda_2| = |1 + e^(2 pi i / 3)| / 2 = 1/2
    assert spectral_gap((np.eye(3) + np.roll(np.eye(3), 1, axis=0)) / 2) == pytest.approx(1 / 2)
    assert spectral_gap(np.array([[0.0, 1.0], [1.0, 0.0]])) == 0


def test_spectral_gap_governs_how_fast_peers_agree():
    mixing = Ring().mixing(6, 0, 0)
    models = np.random.default_rng(0).normal(size=6)
    apart = [np.ptp(np.linalg.matrix_power(mixing.matrix, k) @ models) for k in (30, 31)]
    assert apart[1] / apart[0] == pytest.approx(1 - Ring().spectral_gap(6, 0), rel=1e-6)


def test_spectral_gap_refuses_what_is_not_square():
    with pytest.raises(TopologyError, match=r"\(2, 3\)"):
        spectral_gap(np.ones((2, 3)))


def test_identity_and_complete():
    assert Mixing.identity(3).edges == []
    assert Mixing.identity(3).row(1) == {1: 1.0}
    assert Mixing.complete(4).row(0) == dict.fromkeys(range(4), 0.25)
    assert Mixing.complete(4).peers == 4
    with pytest.raises(TopologyError, match="at least 1 peer"):
        Mixing.complete(0)


@pytest.mark.parametrize(
    ("matrix", "sums", "message"),
    [
        (np.ones((2, 3)), "rows", r"shape \(N, N\)"),
        (np.zeros((0, 0)), "rows", r"shape \(N, N\)"),
        (np.array([[2.0, -1.0], [0.0, 1.0]]), "rows", "finite entries >= 0"),
        (np.array([[np.nan, 1.0], [0.0, 1.0]]), "rows", "finite entries >= 0"),
        (np.array([[0.5, 0.5], [0.5, 0.4]]), "rows", "rows .* peer 1: 0.9"),
        (np.array([[0.5, 0.5], [1.0, 0.0]]), "columns", "columns .* peer 0: 1.5, peer 1: 0.5"),
    ],
)
def test_a_matrix_that_does_not_mix_is_refused(matrix, sums, message):
    with pytest.raises(TopologyError, match=message):
        Mixing(matrix, sums)


def test_the_matrix_cannot_be_changed_and_is_not_the_callers():
    mine = np.eye(2)
    mixing = Mixing(mine)
    mine[0, 0] = 5
    assert mixing.matrix[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        mixing.matrix[0, 0] = 5


@pytest.mark.parametrize("i", [-1, 3])
def test_peers_out_of_range_are_refused(i):
    for ask in (Mixing.complete(3).row, Mixing.complete(3).in_neighbours, Mixing.complete(3).out_neighbours):
        with pytest.raises(IndexError, match=r"peers are 0\.\.2"):
            ask(i)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), n=st.integers(1, 12))
def test_a_renormalized_row_sums_to_one_and_keeps_its_proportions(data, n):
    row = dict(enumerate(data.draw(st.lists(st.floats(1e-3, 1), min_size=n, max_size=n))))
    present = data.draw(st.sets(st.integers(0, n + 3))) | {0}
    kept = renormalize(row, present)
    assert set(kept) == set(row) & present
    assert sum(kept.values()) == pytest.approx(1)
    assert all(kept[j] / kept[0] == pytest.approx(row[j] / row[0]) for j in kept)


def test_renormalize_needs_somebody():
    assert renormalize({0: 1 / 3, 1: 1 / 3, 4: 1 / 3}, {0, 4}) == pytest.approx({0: 0.5, 4: 0.5})
    with pytest.raises(TopologyError, match="receiving peer itself must be in both"):
        renormalize({0: 0.5, 1: 0.5}, {2})
