"""Mixing matrices against definitions written out peer by peer, and spectral gaps against closed forms."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimat_flwr.topology import Exchange, Mixing, Row, TopologyError, spectral_gap
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
    received, given = uniform.dense(), pushed.dense()
    for i in range(n):
        for j in range(n):
            sends = i == j or graph.has_edge(j, i)
            assert received[i, j] == pytest.approx(sends / (graph.in_degree(i) + 1))
            assert given[i, j] == pytest.approx(sends / (graph.out_degree(j) + 1))
    assert uniform.row_stochastic
    assert pushed.column_stochastic
    np.testing.assert_allclose(received.sum(axis=1), 1)
    np.testing.assert_allclose(given.sum(axis=0), 1)
    assert uniform.column_stochastic == bool(np.allclose(received.sum(axis=0), 1))
    assert pushed.row_stochastic == bool(np.allclose(given.sum(axis=1), 1))
    for mixing in (uniform, pushed):
        assert mixing.edges == sorted(graph.edges)
        for i in range(n):
            assert mixing.sources(i) == tuple(sorted(graph.predecessors(i)))
            assert mixing.readers(i) == tuple(sorted(graph.successors(i)))
            row, dense = mixing.row(i, "columns"), mixing.dense()[i]
            assert list(row.sources) == sorted(graph.predecessors(i))
            assert row == Row(dense[i], {j: dense[j] for j in row.sources}, "columns")
        assert sorted(map(tuple, mixing.edge_array().tolist())) == mixing.edges
        assert mixing.edge_count == len(mixing.edges)
        assert set(mixing.graph().edges) == set(graph.edges)
        np.testing.assert_array_equal(Mixing.from_dense(mixing.dense()).dense(), mixing.dense())


@settings(max_examples=40, deadline=None)
@given(graph=directed_graphs())
def test_metropolis_hastings_is_symmetric_doubly_stochastic_and_its_definition(graph):
    graph = graph.to_undirected().to_directed()
    mixing = Mixing.from_graph(graph, "metropolis_hastings")
    matrix = mixing.dense()
    assert mixing.row_stochastic
    assert mixing.column_stochastic
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    assert (matrix.diagonal() > 0).all()
    for j, i in graph.edges:
        assert matrix[i, j] == pytest.approx(1 / (1 + max(graph.in_degree(i), graph.in_degree(j))))


def test_metropolis_hastings_names_the_edges_without_a_way_back():
    with pytest.raises(
        TopologyError, match=r"no way back: 0->2, 1->3, 2->4, 3->0, 4->1; set topology.weighting to auto"
    ):
        Exponential(weighting="metropolis_hastings").mixing(5, 0, 0)


def test_the_papers_ring_gives_a_third_to_each():
    assert Ring().mixing(5, 0, 0).row(0) == Row(1 / 3, {1: 1 / 3, 4: 1 / 3})
    assert FullyConnected().mixing(5, 0, 0).row(2) == Row(0.2, dict.fromkeys([0, 1, 3, 4], 0.2))
    assert Star().mixing(4, 0, 0).row(3) == Row(0.5, {0: 0.5})


@settings(max_examples=25, deadline=None)
@given(n=st.integers(3, 40))
def test_ring_eigenvalues_and_gap_are_the_closed_form(n):
    expected = np.sort(1 / 3 + 2 / 3 * np.cos(2 * np.pi * np.arange(n) / n))
    np.testing.assert_allclose(np.linalg.eigvalsh(Ring().mixing(n, 0, 0).dense()), expected, atol=1e-12)
    assert Ring().spectral_gap(n, 0) == pytest.approx(1 - np.sort(np.abs(expected))[-2])


def test_other_closed_form_gaps():
    assert FullyConnected().spectral_gap(7, 0) == pytest.approx(1)
    assert spectral_gap(Mixing.identity(6).dense()) == 0
    assert spectral_gap(Mixing.complete(1).dense()) == 1
    # 3 x 3 torus, 1/5 each: eigenvalues (1 + 2 cos a + 2 cos b) / 5 with a, b multiples of 2 pi / 3
    assert Torus().spectral_gap(9, 0) == pytest.approx(1 - 2 / 5)
    # Metropolis-Hastings on a chain of 3: tridiagonal [[2,1,0],[1,1,1],[0,1,2]] / 3, eigenvalues 1, 2/3, 0
    assert Chain(weighting="metropolis_hastings").spectral_gap(3, 0) == pytest.approx(1 / 3)
    # circulant, hops 1 and 2 of 4, 1/3 each: |1 + w + w^2| / 3 at w = i is 1/3, at w = -1 also 1/3
    assert Exponential().spectral_gap(4, 0) == pytest.approx(2 / 3)
    # complex eigenvalues: a rotation of 3 with weight 1/2 has |lambda_2| = |1 + e^(2 pi i / 3)| / 2 = 1/2
    assert spectral_gap((np.eye(3) + np.roll(np.eye(3), 1, axis=0)) / 2) == pytest.approx(1 / 2)
    assert spectral_gap(np.array([[0.0, 1.0], [1.0, 0.0]])) == 0


def test_spectral_gap_governs_how_fast_peers_agree():
    mixing = Ring().mixing(6, 0, 0)
    models = np.random.default_rng(0).normal(size=6)
    apart = [np.ptp(np.linalg.matrix_power(mixing.dense(), k) @ models) for k in (30, 31)]
    assert apart[1] / apart[0] == pytest.approx(1 - Ring().spectral_gap(6, 0), rel=1e-6)


def test_spectral_gap_refuses_what_is_not_square():
    with pytest.raises(TopologyError, match=r"\(2, 3\)"):
        spectral_gap(np.ones((2, 3)))


def test_identity_and_complete():
    assert Mixing.identity(3).edges == []
    assert Mixing.identity(3).row(1) == Row(1.0, {})
    assert Mixing.complete(4).row(0) == Row(0.25, dict.fromkeys([1, 2, 3], 0.25))
    assert Mixing.complete(4).peers == 4
    np.testing.assert_array_equal(Mixing.complete(6).dense(), np.full((6, 6), 1 / 6))
    for make in (Mixing.identity, Mixing.complete):
        with pytest.raises(TopologyError, match="at least 1 peer"):
            make(0)


def test_an_unweighted_graph_says_only_who_reads_whom():
    graph = nx.DiGraph([(0, 1), (1, 2)])
    mixing = Mixing.unweighted(graph)
    assert [mixing.row(i, "none") for i in range(3)] == [
        Row(0, {}, "none"),
        Row(0, {0: 1}, "none"),
        Row(0, {1: 1}, "none"),
    ]
    assert not mixing.row_stochastic
    assert not mixing.column_stochastic


def test_a_reversed_graph_has_every_edge_turned_round_and_no_weights_unless_asked():
    star = Exponential().mixing(5, 0, 0)
    back = star.reversed()
    assert back.edges == sorted((i, j) for j, i in star.edges)
    assert back.row(0) == Row(0.0, dict.fromkeys(star.readers(0), 1.0))
    assert star.reversed("uniform").row_stochastic
    np.testing.assert_array_equal(star.reversed("uniform").reversed("uniform").dense(), star.dense())


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((2, 3)), r"shape \(N, N\)"),
        (np.zeros((0, 0)), r"at least 1 peer"),
        (np.array([[2.0, -1.0], [0.0, 1.0]]), "finite entries >= 0"),
        (np.array([[np.nan, 1.0], [0.0, 1.0]]), "finite entries >= 0"),
        (np.array([[1.0, np.inf], [0.0, 1.0]]), "finite entries >= 0"),
    ],
)
def test_what_is_no_mixing_matrix_is_refused(matrix, message):
    with pytest.raises(TopologyError, match=message):
        Mixing.from_dense(matrix)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([(0, 0), (0, 1)], r"peers \[0\] have edges to themselves"),
        ([(0, 1), (1, 7), (-1, 0)], r"do not exist: \[-1, 7\]; 3 peers are 0\.\.2"),
        ([(0, 1), (0, 1)], r"edge 0->1 is there twice"),
        ([(0.5, 1)], r"pairs \(source, reader\)"),
        ([(0, 1, 2)], r"pairs \(source, reader\)"),
        ([(0, 1), (2,)], r"pairs \(source, reader\)"),
        (["ab"], r"pairs \(source, reader\)"),
        (7, r"pairs \(source, reader\) of peers, not 7"),
    ],
)
def test_edges_that_cannot_be_are_named(edges, message):
    with pytest.raises(TopologyError, match=message):
        Mixing.from_edges(3, edges, "uniform")


def test_a_weighting_that_does_not_exist_is_refused():
    with pytest.raises(TopologyError, match="no weighting 'random'; choose uniform"):
        Mixing.from_edges(2, [(0, 1)], "random")


@pytest.mark.parametrize(
    ("matrix", "sums", "message"),
    [
        ([[0.5, 0.5], [0.5, 0.4]], "rows", r"rows sum to 1, .* peer 1: 0.9; set topology.weighting to auto, uniform"),
        ([[0.5, 0.5], [1.0, 0.0]], "columns", r"columns sum to 1, .* peer 0: 1.5, peer 1: 0.5; .*column_stochastic"),
        # the irregular star, weighted for averaging: its hub would hand out 2.2 times what it has
        (
            np.array([[1, 1, 1, 1, 1]] + [[2.5, 2.5 if i == 1 else 0, 0, 0, 0] for i in range(1, 5)]) / 5,
            "columns",
            "2.2",
        ),
    ],
)
def test_an_exchange_whose_sums_are_not_1_is_refused(matrix, sums, message):
    with pytest.raises(TopologyError, match=message):
        Exchange("merge", Mixing.from_dense(np.array(matrix)), sums)


def test_an_exchange_takes_a_matrix_that_has_both_sums_and_any_where_none_is_promised():
    for sums in ("rows", "columns", "none"):
        for mixing in (Mixing.identity(3), Ring().mixing(5, 0, 0)):
            assert Exchange("merge", mixing, sums).sums == sums
    assert Exchange("ask", Mixing.unweighted(nx.DiGraph([(0, 1), (1, 0)])), "none").sums == "none"
    with pytest.raises(TopologyError, match="sums is 'rows', 'columns' or 'none', not 'row'"):
        Exchange("merge", Mixing.identity(3), "row")
    with pytest.raises(TopologyError, match="needs a Mixing, not a ndarray"):
        Exchange("merge", np.eye(2))


@pytest.mark.parametrize("name", ["", "start", "setup", "a b", "2nd", "x" * 41, "a/b", "a\n", 3])
def test_an_exchange_has_a_name_that_can_stand_in_records(name):
    with pytest.raises(TopologyError, match="cannot be named"):
        Exchange(name, Mixing.identity(2))


def test_a_mixing_is_not_the_callers_and_cannot_be_changed():
    own, weights, edges = np.array([0.5, 1.0]), np.array([0.5]), np.array([[1, 0]])
    mixing = Mixing(own, edges, weights)
    own[0], weights[0], edges[0] = 5, 5, (0, 1)
    assert mixing.row(0) == Row(0.5, {1: 0.5})
    mixing.dense()[0, 0] = 5
    assert mixing.row(0).own == 0.5
    assert len({mixing, Mixing.identity(2), Mixing.identity(2)}) == 3, "the same is the same object alone"


@pytest.mark.parametrize("i", [-1, 3])
def test_peers_out_of_range_are_refused(i):
    for ask in (Mixing.complete(3).row, Mixing.complete(3).sources, Mixing.complete(3).readers):
        with pytest.raises(IndexError, match=r"peers are 0\.\.2"):
            ask(i)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), n=st.integers(1, 12))
def test_a_restricted_row_sums_to_one_and_keeps_its_proportions(data, n):
    weights = np.array(data.draw(st.lists(st.floats(1e-3, 1), min_size=n, max_size=n)))
    weights /= weights.sum()
    row = Row(weights[0], dict(enumerate(weights[1:], start=1)))
    present = data.draw(st.sets(st.integers(0, n + 3)))
    kept = row.restricted_to(present)
    assert kept.sources.keys() == row.sources.keys() & present
    assert kept.own + sum(kept.sources.values()) == pytest.approx(1)
    assert all(kept.sources[j] / kept.own == pytest.approx(row.sources[j] / row.own) for j in kept.sources)


def test_rows_that_need_no_scaling_are_left_as_they_are():
    assert Row(1 / 3, {1: 1 / 3, 4: 1 / 3}).restricted_to({4}) == Row(0.5, {4: 0.5})
    assert Row(0.2, {1: 0.3, 4: 0.1}, "columns").restricted_to({4}) == Row(0.2, {4: 0.1}, "columns")
    assert Row(0.0, {1: 1.0, 4: 1.0}, "none").restricted_to({1}) == Row(0.0, {1: 1.0}, "none")
    assert Row(0.1, {1: 0.9}).restricted_to({1}) == Row(0.1, {1: 0.9})


def test_a_peer_that_gives_itself_nothing_keeps_its_own_when_nobody_is_there():
    assert Row(0.0, {1: 0.5, 2: 0.5}).restricted_to(()) == Row(1.0, {})
    assert Row(0.0, {1: 0.0, 2: 1.0}).restricted_to({1}) == Row(1.0, {1: 0.0})


def test_symmetric_is_what_equals_its_transpose():
    graphs = [Ring(), Star(), Star(weighting="metropolis_hastings"), Exponential(), FullyConnected(), Chain()]
    for mixing in (graph.mixing(7, 0, 0) for graph in graphs):
        w = mixing.dense()
        assert mixing.is_symmetric() == np.allclose(w, w.T)
        assert mixing.is_like(Mixing.from_dense(w))
        assert not mixing.is_like(Mixing.from_dense((w + np.eye(7)) / 2))
    assert {graph.mixing(7, 0, 0).is_symmetric() for graph in graphs} == {True, False}


def test_a_matrix_among_more_peers_leaves_the_others_alone():
    ring = Mixing.from_graph(nx.cycle_graph(3).to_directed(), "uniform")
    among = ring.placed([1, 3, 4], 6)
    assert np.allclose(among.dense()[np.ix_([1, 3, 4], [1, 3, 4])], ring.dense())
    assert all(among.row(peer) == Row(1.0, {}) for peer in (0, 2, 5))
    assert (among.row_stochastic, among.column_stochastic, among.edge_count) == (True, True, 6)
    assert ring.placed(range(3), 3) is ring


@settings(max_examples=60, deadline=None)
@given(graph=directed_graphs(), seed=st.integers(0, 2**16))
def test_without_some_sources_rows_are_what_each_row_is_restricted_to_the_others(graph, seed):
    n = graph.number_of_nodes()
    silent = [peer for peer in range(n) if np.random.default_rng([seed, peer]).random() < 0.5]
    mixing = Mixing.from_graph(graph, "uniform")
    found = mixing.without_sources(silent, "rows")
    for reader in range(n):
        kept = {j for j in mixing.sources(reader) if j not in silent}
        wanted = mixing.row(reader).restricted_to(kept)
        assert found.row(reader).sources == pytest.approx(dict(wanted.sources))
        assert found.row(reader).own == pytest.approx(wanted.own)
    columns = mixing.without_sources(silent, "columns")
    assert columns.edges == found.edges
    assert all(columns.row(reader).own == mixing.row(reader).own for reader in range(n))
    between = [edge for edge in mixing.edges if not set(edge) & set(silent)]
    assert mixing.among([peer for peer in range(n) if peer not in silent]).edges == between
