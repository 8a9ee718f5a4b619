"""Each topology is the graph its name says, for every number of peers."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimat_flwr.topology import Topology, TopologyError
from dimat_flwr.topology.chain import Chain
from dimat_flwr.topology.connected import strong_parts
from dimat_flwr.topology.erdos_renyi import ErdosRenyi
from dimat_flwr.topology.exponential import Exponential
from dimat_flwr.topology.fully_connected import FullyConnected
from dimat_flwr.topology.ring import Ring
from dimat_flwr.topology.star import Star
from dimat_flwr.topology.torus import Torus

SYMMETRIC = [Ring, FullyConnected, Chain, Star, ErdosRenyi]
ANY_NUMBER = [*SYMMETRIC, Exponential]


@pytest.mark.parametrize("cls", ANY_NUMBER)
@settings(max_examples=15, deadline=None)
@given(n=st.integers(2, 24), seed=st.integers(0, 99))
def test_every_graph_is_strongly_connected_over_exactly_the_peers_without_self_loops(cls, n, seed):
    graph = cls().graph(n, 1, seed)
    assert sorted(graph.nodes) == list(range(n))
    assert nx.is_strongly_connected(graph)
    assert nx.number_of_selfloops(graph) == 0
    assert nx.is_frozen(graph)


@pytest.mark.parametrize("cls", SYMMETRIC)
@settings(max_examples=10, deadline=None)
@given(n=st.integers(2, 24))
def test_undirected_topologies_link_both_ways(cls, n):
    graph = cls().graph(n, 0, 0)
    assert set(graph.edges) == {(b, a) for a, b in graph.edges}


@settings(max_examples=20, deadline=None)
@given(n=st.integers(3, 30))
def test_known_shapes(n):
    assert set(Ring().graph(n, 0, 0).edges) == {(i, (i + s) % n) for i in range(n) for s in (1, -1)}
    assert set(Chain().graph(n, 0, 0).edges) == {(i, i + s) for i in range(n) for s in (1, -1) if 0 <= i + s < n}
    assert set(Star().graph(n, 0, 0).edges) == {e for i in range(1, n) for e in ((0, i), (i, 0))}
    assert FullyConnected().graph(n, 0, 0).number_of_edges() == n * (n - 1)
    exponential = Exponential().graph(n, 0, 0)
    assert set(exponential.successors(0)) == {2**k for k in range(8) if 2**k < n}
    assert {d for _, d in exponential.in_degree} == {len(list(exponential.successors(0)))}
    assert nx.diameter(exponential) <= int(np.ceil(np.log2(n)))


def test_two_peers_exchange_in_every_topology_that_takes_two():
    for cls in ANY_NUMBER:
        assert set(cls().graph(2, 0, 0).edges) == {(0, 1), (1, 0)}


@pytest.mark.parametrize(("n", "rows", "columns"), [(9, 3, 3), (12, 3, 4), (20, 4, 5), (36, 6, 6)])
def test_torus_is_networkxs_periodic_grid(n, rows, columns):
    grid = nx.grid_2d_graph(rows, columns, periodic=True)
    expected = {(r * columns + c, q * columns + d) for (r, c), (q, d) in grid.to_directed().edges}
    assert set(Torus().graph(n, 0, 0).edges) == expected


def test_torus_of_two_rows_has_three_neighbours_and_of_four_peers_is_a_ring():
    assert {d for _, d in Torus().graph(10, 0, 0).out_degree} == {3}
    assert nx.is_isomorphic(Torus().graph(4, 0, 0), Ring().graph(4, 0, 0))


@pytest.mark.parametrize(("prime", "works"), [(2, "4"), (3, "4"), (5, "4 or 6"), (13, "12 or 14")])
def test_torus_of_a_prime_names_the_nearest_numbers_that_work(prime, works):
    with pytest.raises(TopologyError, match=rf"{prime} is prime.*work: {works} "):
        Torus().graph(prime, 0, 0)
    for n in works.split(" or "):
        assert Torus().graph(int(n), 0, 0).number_of_nodes() == int(n)


@pytest.mark.parametrize("cls", [*ANY_NUMBER, Torus])
@pytest.mark.parametrize("n", [-1, 0, 1])
def test_fewer_than_two_peers_are_refused(cls, n):
    with pytest.raises(TopologyError, match=f"at least 2 peers, not {n}; raise num-supernodes"):
        cls().graph(n, 0, 0)


def test_erdos_renyi_follows_the_seed_alone_and_its_p():
    draws = [set(ErdosRenyi(p=0.4).graph(12, 0, seed).edges) for seed in range(6)]
    again = [set(ErdosRenyi(p=0.4).graph(12, 7, seed).edges) for seed in range(6)]
    assert draws == again
    assert len({frozenset(d) for d in draws}) == 6
    share = np.mean([ErdosRenyi(p=0.7).graph(30, 0, s).number_of_edges() / (30 * 29) for s in range(10)])
    assert share == pytest.approx(0.7, abs=0.03)  # 4350 links drawn: three standard deviations are 0.021
    assert ErdosRenyi(p=1.0).graph(6, 0, 0).number_of_edges() == 30


def test_erdos_renyi_redraws_until_connected_and_says_when_it_cannot():
    for seed in range(20):  # one draw is connected about every other time
        assert nx.is_strongly_connected(ErdosRenyi(p=0.3).graph(8, 0, seed))
    with pytest.raises(TopologyError, match=r"none of 1000 random graphs over 30 peers with p = 0.001.*raise p.*0\.11"):
        ErdosRenyi(p=0.001).graph(30, 0, 0)


@pytest.mark.parametrize("p", [0.0, -0.1, 1.5, float("nan")])
def test_erdos_renyi_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match=r"\np\n"):
        ErdosRenyi(p=p)


def test_the_matrices_of_a_graph_that_repeats_are_the_same_objects():
    ring = Ring()
    assert ring.mixing(5, 1, 0) is ring.mixing(5, 9, 0)
    assert ring.mixing(5, 1, 0) is not ring.mixing(6, 1, 0)
    with pytest.raises(nx.NetworkXError):
        ring.graph(5, 1, 0).add_edge(0, 2)


def test_weighting_auto_is_what_the_algorithm_needs_and_a_chosen_one_stays():
    star = Star()
    assert star.weighting == "auto"
    assert star.mixing(5, 0, 0).row_stochastic
    assert star.mixing(5, 0, 0, "columns").column_stochastic
    assert not star.mixing(5, 0, 0, "columns").row_stochastic
    chosen = Star(weighting="uniform")
    assert chosen.mixing(5, 0, 0, "columns") is chosen.mixing(5, 0, 0, "rows")


class Alternating(Topology):
    """Even rounds: 0<->1, 2<->3; odd rounds: 1<->2, 3<->0. Neither alone is connected."""

    def period(self, peers):
        return 2

    def draw(self, peers, round, seed):
        links = [(1, 2), (3, 0)] if round % 2 else [(0, 1), (2, 3)]
        return [*links, *((b, a) for a, b in links)]


class Fresh(Alternating):
    """The same graphs without a promise to repeat."""

    def period(self, peers):
        return None


def test_a_time_varying_topology_repeats_after_its_period_and_needs_only_its_union_connected():
    topology = Alternating()
    assert topology.mixing(4, 6, 0) is topology.mixing(4, 0, 0)
    assert set(topology.union(4, 0, 0).edges) == {(i, (i + s) % 4) for i in range(4) for s in (1, -1)}
    assert set(topology.graph(4, 5, 0).edges) == {(1, 2), (2, 1), (3, 0), (0, 3)}
    with pytest.raises(TopologyError, match=r"Alternating over 5 peers.*\{0, 1, 2, 3\}; \{4\}"):
        topology.graph(5, 0, 0)


def test_spectral_gap_of_a_time_varying_topology_is_that_of_one_periods_product():
    assert Alternating().mixing(4, 0, 0).dense()[0].tolist() == [0.5, 0.5, 0, 0]
    # (pairs) then (other pairs) averages all four exactly, though either alone has gap 0
    assert Alternating().spectral_gap(4, 0) == pytest.approx(1.0)
    assert Fresh().spectral_gap(4, 0) is None
    assert set(Fresh().graph(4, 3, 0).edges) == set(Alternating().graph(4, 3, 0).edges)


def made(**methods):
    """Return a topology with these methods."""
    return type("Odd", (Topology,), {"draw": lambda self, peers, round, seed: [(0, 1), (1, 0)], **methods})()


@pytest.mark.parametrize("edges", [[(0, 0), (0, 1), (1, 0)], [(0, 1), (1, 7)], [(0, "a")], None])
def test_a_draw_that_is_no_graph_of_the_peers_is_refused_with_its_name(edges):
    with pytest.raises(TopologyError, match=r"Odd.draw\(2, 0, 0\): (peers \[0\] have|edges (name|are))"):
        made(draw=lambda self, peers, round, seed: edges).graph(2, 0, 0)


def test_the_edges_of_a_networkx_graph_are_edges():
    cycle = made(draw=lambda self, peers, round, seed: nx.cycle_graph(peers, create_using=nx.DiGraph).edges)
    assert cycle.mixing(4, 0, 0).sources(0) == (3,)


def test_whatever_a_topology_raises_is_one_error_with_its_name():
    def raises(*_):
        raise KeyError("no")

    with pytest.raises(TopologyError, match=r"Odd.draw\(3, 0, 5\) raised KeyError: 'no'"):
        made(draw=raises).mixing(3, 2, 5)
    with pytest.raises(TopologyError, match=r"Odd.period\(3\) raised KeyError"):
        made(period=raises).mixing(3, 0, 0)
    for period in (0, -1, "2", 1.5):
        with pytest.raises(TopologyError, match=r"Odd.period\(3\) must return a number of rounds >= 1 or None"):
            made(period=lambda self, peers, found=period: found).spectral_gap(3, 0)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 8), p=st.floats(0, 0.5), seed=st.integers(0, 9999))
def test_strong_parts_are_the_strongly_connected_components(n, p, seed):
    graph = nx.gnp_random_graph(n, p, seed=seed, directed=True)
    edges = np.array(list(graph.edges), np.int32).reshape(-1, 2)
    expected = sorted(sorted(part) for part in nx.strongly_connected_components(graph))
    assert strong_parts(n, edges) == expected
    some = set(range(0, n, 2))
    inside = graph.subgraph(some)
    assert strong_parts(n, edges, some) == sorted(sorted(part) for part in nx.strongly_connected_components(inside))
