"""The plan: what a run's exchanges are, that all faults come up at once with a name, and that it stays small."""

import gc
import tracemalloc

import networkx as nx
import numpy as np
import pytest

from dimat_flwr.algorithms.epidemic import Epidemic
from dimat_flwr.algorithms.fedavg import FedAvg
from dimat_flwr.algorithms.relaysgd import RelaySGD
from dimat_flwr.instruments import Instruments
from dimat_flwr.relay.plan import Plan
from dimat_flwr.relay.planners import PlanError
from dimat_flwr.topology import Exchange, Mixing, RoundView, Row, ScheduleError, Topology, TopologyError
from dimat_flwr.topology.chain import Chain
from dimat_flwr.topology.fully_connected import FullyConnected
from dimat_flwr.topology.one_peer_exponential import OnePeerExponential
from dimat_flwr.topology.random_matching import RandomMatching
from dimat_flwr.topology.random_pull import RandomPull
from dimat_flwr.topology.ring import Ring
from dimat_flwr.topology.schedules.always import Always
from dimat_flwr.topology.schedules.every_n import EveryN
from dimat_flwr.topology.schedules.never import Never
from dimat_flwr.topology.schedules.windows import Windows
from dimat_flwr.topology.star import Star
from dimat_flwr.topology.torus import Torus
from tests.relay.toy_post import Averaging, NoFinalMerge


class Everyone:
    def exchanges(self, view: RoundView) -> list[Exchange]:
        return [Exchange("everyone", Mixing.complete(view.peers))]


class AlongTheTopology:
    def exchanges(self, view: RoundView) -> list[Exchange]:
        return [Exchange("gossip", view.mixing)]


class PushSum(Averaging):
    sums = "columns"

    def exchanges(self, view: RoundView) -> list[Exchange]:
        return [Exchange("push", view.mixing, "columns")]


def of(exchanges, sums="rows"):
    """Return an algorithm whose ``exchanges`` is the given function."""
    return type("Toy", (), {"sums": sums, "exchanges": lambda self, view: exchanges(view)})()


def plan(algorithm=None, final_merge=None, topology=None, schedule=None, peers=4, rounds=3, **instruments):
    parts = algorithm or Averaging(), final_merge or NoFinalMerge(), topology or Ring(), schedule or Always()
    return Plan(*parts, peers, rounds, 0, **instruments)


def test_exchange_0_is_the_start_and_the_final_merge_comes_after_the_last_round():
    found = plan(final_merge=Everyone(), schedule=EveryN(n=2))
    assert [(p.round, p.name, p.handler, p.mixing.edge_count) for p in found] == [
        (0, "start", "algorithm", 0),
        (1, "merge", "algorithm", 0),
        (2, "merge", "algorithm", 8),
        (3, "merge", "algorithm", 0),
        (4, "everyone", "final_merge", 12),
    ]
    assert (len(found), found.last_round, found.rounds) == (5, 4, 3)
    assert [found.round_of(k) for k in range(5)] == [0, 1, 2, 3, 4]
    assert found[-1] is found[4]
    assert found.first_communicating is found[2].mixing


def test_without_rounds_there_is_the_start_alone():
    found = plan(rounds=0)
    assert [(p.round, p.name) for p in found] == [(0, "start")]
    assert found.last_round == 0


def test_several_exchanges_a_round_each_with_its_own_graph():
    two = of(lambda view: [Exchange("out", view.mixing), Exchange("back", view.mixing.reversed(), "none")])
    found = plan(two, rounds=2)
    assert [(p.round, p.name, p.sums) for p in found[1:]] == [
        (1, "out", "rows"), (1, "back", "none"), (2, "out", "rows"), (2, "back", "none"),
    ]  # fmt: skip


def test_an_algorithm_sees_round_schedule_and_base_graph():
    seen = []

    def look(view):
        seen.append((view.round, view.rounds, view.peers, view.mixing.edge_count, view.mixing_at(2).edge_count))
        assert set(view.graph.edges) == set(nx.cycle_graph(4).to_directed().edges)
        return [Exchange("merge", view.mixing)]

    plan(of(look), schedule=Windows(windows=[(2, 2, "fully_connected")]))
    assert seen == [(1, 3, 4, 0, 12), (2, 3, 4, 12, 12), (3, 3, 4, 0, 12)]


def test_the_base_graph_of_a_topology_that_repeats_is_that_of_its_whole_period():
    class Alternating(Topology):
        def period(self, peers):
            return 2

        def draw(self, peers, round, seed):
            return [(1, 2), (2, 1), (3, 0), (0, 3)] if round % 2 else [(0, 1), (1, 0), (2, 3), (3, 2)]

    def look(view):
        assert view.graph.number_of_edges() == 8
        assert view.mixing.edge_count == 4
        return [Exchange("merge", view.mixing)]

    assert len(plan(of(look), topology=Alternating())) == 4


def test_weighting_auto_gives_push_sum_columns_and_the_final_merge_rows():
    found = plan(PushSum(), AlongTheTopology(), Star())
    assert found[1].mixing.column_stochastic
    assert not found[1].mixing.row_stochastic
    assert found[-1].mixing.row_stochastic


def test_push_sum_over_rows_that_do_not_fit_is_refused_with_a_remedy():
    message = (
        r"PushSum.exchanges for round 1: .*columns sum to 1.*peer 0: 1.75.*set topology.weighting to auto or column_st"
    )
    with pytest.raises(PlanError, match=message):
        plan(PushSum(), topology=Star(weighting="uniform"))


def test_averaging_over_columns_that_do_not_fit_is_refused_also_in_the_final_merge():
    with pytest.raises(PlanError, match=r"rows sum to 1.*topology.weighting to auto, uniform"):
        plan(topology=Star(weighting="column_stochastic"))
    with pytest.raises(PlanError, match=r"AlongTheTopology.exchanges for the final merge: .*rows sum to 1"):
        plan(PushSum(), AlongTheTopology(), Star(weighting="column_stochastic"))


def test_a_doubly_stochastic_matrix_serves_both():
    for weighting in ("uniform", "metropolis_hastings", "column_stochastic"):
        assert len(plan(PushSum(), topology=Ring(weighting=weighting))) == 4
        assert len(plan(topology=Ring(weighting=weighting))) == 4


def bad_index(view):
    return {}["models"]


@pytest.mark.parametrize(
    ("exchanges", "message"),
    [
        (bad_index, r"Toy.exchanges for round 1 raised KeyError: 'models'"),
        (lambda view: [][0] if view.round == 3 else [Exchange("m", view.mixing)], r"for round 3 raised IndexError"),
        (lambda view: [], r"Toy.exchanges for round 1 returned nothing; .*Mixing.identity"),
        (lambda view: None, r"raised TypeError: 'NoneType' object is not iterable"),
        (lambda view: [view.mixing], r"must return Exchanges, not a Mixing"),
        (lambda view: [Exchange("m", Mixing.identity(3))], r"'m' is over 3 peers, the run has 4"),
        (lambda view: [Exchange("m", view.mixing)] * 2, r"more than one exchange is named m"),
        (lambda view: [Exchange("start", view.mixing)], r"cannot be named 'start'"),
        (lambda view: [Exchange("a b", view.mixing)], r"cannot be named 'a b'; take 1 to 40"),
    ],
)
def test_whatever_exchanges_does_wrong_is_one_error_with_its_name(exchanges, message):
    with pytest.raises(PlanError, match=message):
        plan(of(exchanges))


def test_sums_that_do_not_exist_are_refused():
    with pytest.raises(PlanError, match=r"Toy.sums is 'diagonal'"):
        plan(of(lambda view: [], sums="diagonal"))


def test_a_topology_or_schedule_that_raises_is_named():
    class Broken(Topology):
        def draw(self, peers, round, seed):
            raise RuntimeError("no graph today")

    class Odd(Always):
        def exchange(self, round):
            return 1 // (2 - round)

    with pytest.raises(TopologyError, match=r"Broken.draw\(4, 0, 0\) raised RuntimeError: no graph today"):
        plan(topology=Broken())
    with pytest.raises(ScheduleError, match=r"Odd.exchange\(1\) must return one of 'none', 'topology'.*not 1"):
        plan(schedule=Odd())
    with pytest.raises(ScheduleError, match=r"never exchange in 3 rounds"):
        plan(schedule=EveryN(n=4))


def test_a_topology_that_nobody_uses_need_not_exist():
    alone = of(lambda view: [Exchange("train", Mixing.identity(view.peers))])
    assert len(plan(alone, Everyone(), Torus(), Never(), peers=5)) == 5
    with pytest.raises(TopologyError, match="5 is prime"):
        plan(alone, topology=Torus(), peers=5)


class Fresh(Topology):
    """Another ring every round, by the round's number."""

    def period(self, peers):
        return None

    def draw(self, peers, round, seed):
        step = 1 + round % 2
        return [(i, (i + step) % peers) for i in range(peers)]


def test_graphs_are_drawn_again_when_a_round_comes_up_and_only_a_few_are_held():
    found = plan(topology=Fresh(), peers=5, rounds=500)
    assert len(found._held) <= 64
    for number in (1, 250, 500, 2):
        assert found[number].mixing.sources(0) == ((5 - (1 + number % 2)) % 5,)
    assert len(found._held) <= 64


def test_an_algorithm_that_answers_differently_when_asked_again_is_named():
    asked = []

    def moody(view):
        asked.append(view.round)
        return [Exchange("a" if asked.count(view.round) == 1 else "b", view.mixing)]

    found = plan(of(moody), rounds=100)
    with pytest.raises(PlanError, match=r"round 80 were laid out differently"):
        _ = found[80]


@pytest.mark.parametrize(
    ("topology", "rounds"),
    [
        (Ring(), 1000),
        pytest.param(FullyConnected(), 10, marks=pytest.mark.slow),
        pytest.param(Fresh(), 100, marks=pytest.mark.slow),
    ],
)
def test_a_thousand_peers_are_planned_in_less_than_100_mb(topology, rounds):
    gc.collect()
    tracemalloc.start()
    found = plan(topology=topology, peers=1000, rounds=rounds)
    assert found[rounds].mixing.edge_count > 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


def test_instruments_observe_at_the_end_of_rounds_and_are_no_part_of_the_graph():
    watching = Instruments(every=2, counterfactual=True, consensus=True, observer=3)
    found = plan(final_merge=Everyone(), rounds=3, topology=Star(), instruments=watching)
    assert [(p.round, p.name) for p in found] == [
        (0, "start"), (0, "observe.models"), (0, "observe.mean"),
        (1, "merge"), (1, "observe.before"),
        (2, "merge"), (2, "observe.models"), (2, "observe.mean"), (2, "observe.before"),
        (3, "merge"), (3, "observe.models"), (3, "observe.mean"), (3, "observe.before"),
        (4, "everyone"), (4, "observe.models"), (4, "observe.mean"),
    ]  # fmt: skip
    assert found.last_act == 13
    assert [p.handler for p in found[:3]] == ["algorithm", "instruments", "instruments"]
    assert (found[1].mixing.edges, found[2].mixing.edges) == ([(0, 3), (1, 3), (2, 3)], [(3, 0), (3, 1), (3, 2)])
    assert found.first_communicating is found[3].mixing
    assert found.parts([1, 2, 3]) == [[1], [2], [3]]  # that 3 sees all is no way for models to get about
    assert [p.name for p in plan(rounds=1, instruments=Instruments(consensus=True))] == [
        "start", "observe.models", "merge", "observe.models",
    ]  # fmt: skip


def test_who_observes_must_be_there_when_the_run_begins():
    found = plan(instruments=Instruments(consensus=True, observer=2))
    found.begin_with([0, 2, 3])
    assert found[1].mixing.edges == [(0, 2), (3, 2)]
    with pytest.raises(PlanError, match=r"set instruments\.observer to a place that is taken"):
        found.begin_with([0, 1, 3])


def test_instruments_without_models_and_none_add_nothing():
    assert len(plan(instruments=Instruments(alignment=True))) == len(plan(instruments=Instruments())) == len(plan())
    assert plan().last_act == 3


def test_an_algorithm_cannot_call_its_exchanges_as_instruments_do():
    with pytest.raises(PlanError, match=r"names that begin with 'observe\.' are kept for instruments"):
        plan(of(lambda view: [Exchange("observe.me", view.mixing)]))


def test_parts_of_the_survivors():
    ring = plan(peers=6)
    assert ring.parts([0, 1, 2, 3, 4]) == [[0, 1, 2, 3, 4]]
    assert ring.parts([0, 1, 3, 4]) == [[0, 1], [3, 4]]
    assert plan(topology=Star()).parts([1, 2, 3]) == [[1], [2], [3]]
    # One way: 0 -> 1 -> 2 -> 3 -> 0 without 3 is a line along which nobody hears of those behind it.
    one_way = of(lambda view: [Exchange("m", Mixing.from_edges(4, [(0, 1), (1, 2), (2, 3), (3, 0)], "uniform"))])
    assert plan(one_way).parts([0, 1, 2]) == [[0], [1], [2]]
    assert plan(topology=Fresh(), peers=6, rounds=4).parts([0, 2, 4]) == [[0, 2, 4]]  # by the rounds with step 2
    assert plan(schedule=Never()).parts([0, 1]) is None
    assert plan(final_merge=Everyone(), schedule=Never()).parts([0, 2]) == [[0, 2]]


def test_how_fast_graphs_mix_is_told_of_a_period_or_measured() -> None:
    def figures(topology: Topology, most: int = 100) -> tuple[float | None, float | None]:
        return plan(topology=topology, peers=8).mixes(most)

    assert figures(Ring()) == (pytest.approx(Ring().spectral_gap(8, 0)), None)
    assert figures(OnePeerExponential()) == (pytest.approx(1.0), None), "of its first round alone it is much less"
    gap, factor = figures(RandomMatching())
    assert gap is None
    assert factor is not None
    assert 0 < factor < 0.95
    assert figures(Ring(), most=7) == (None, None)


def dense_contraction(matrices: list[np.ndarray]) -> float:
    """Return the largest mean shrinkage of a vector of differences, by trying the eigenvectors and many others."""
    n = len(matrices[0])
    tried = np.random.default_rng(0).normal(size=(n, 4000))
    moment = sum((w - w.mean(axis=0)).T @ (w - w.mean(axis=0)) for w in matrices) / len(matrices)
    tried = np.column_stack([tried, np.linalg.eigh(moment)[1]])
    tried -= tried.mean(axis=0)
    tried = tried[:, np.linalg.norm(tried, axis=0) > 1e-6]
    after = [w @ tried - (w @ tried).mean(axis=0) for w in matrices]
    squares = np.mean([(x**2).sum(axis=0) for x in after], axis=0) / (tried**2).sum(axis=0)
    return float(np.sqrt(squares.max()))


def test_how_fast_a_run_mixes_is_told_of_the_graphs_that_it_uses() -> None:
    found = plan(Epidemic(readers=2), topology=Ring(), peers=8, rounds=20)
    assert found.mixes(100) == (None, pytest.approx(dense_contraction([p.mixing.dense() for p in found[1:]]), abs=1e-3))
    assert plan(Epidemic(readers=2), topology=RandomMatching(), peers=8, rounds=20).mixes(100) == found.mixes(100)
    assert plan(FedAvg(), topology=RandomMatching(), peers=8).mixes(100) == (None, None), "it has weights of its own"
    assert plan(RelaySGD(), topology=Chain(), peers=8).mixes(100) == (None, None), "it passes on sums"
    after = plan(final_merge=Everyone(), topology=RandomMatching(), schedule=Never(), peers=8)
    assert after.mixes(100) == (pytest.approx(1.0), None)


def test_how_fast_mass_is_pushed_is_told_of_columns() -> None:
    class Directed(Topology):
        def period(self, peers):
            return 2

        def draw(self, peers, round, seed):
            return [(i, (i + 1) % peers) for i in range(peers)] + ([(0, 2), (0, 3)] if round else [(4, 1)])

    found = plan(PushSum(), topology=Directed(), peers=6)
    product = found[1].mixing.dense() @ found[2].mixing.dense()
    second = np.sort(np.abs(np.linalg.eigvals(product)))[-2]
    assert found.mixes(100) == (pytest.approx(1 - second), None)
    assert plan(PushSum(), topology=RandomPull(), peers=8).mixes(100) == (None, None)


def test_a_peer_for_whom_the_aggregation_has_no_answer_is_found_in_whatever_round_it_is() -> None:
    def needs_two(row: Row) -> str:
        return "" if len(row.sources) >= 2 else f"{len(row.sources)} neighbours"

    def laid_out(*algorithm, **parts):
        merge, topology = parts.get("final_merge", NoFinalMerge()), parts.get("topology", Ring())
        return Plan(*algorithm, merge, topology, Always(), 5, 3, 0, shortage=needs_two)

    assert len(laid_out(Averaging())) == 4
    late = of(
        lambda view: [Exchange("late", view.mixing if view.round < 3 else Mixing.from_edges(5, [(1, 2)], "uniform"))]
    )
    with pytest.raises(PlanError, match="round 3: in exchange 'late' peer 2 has 1 neighbours; choose"):
        laid_out(late)
    with pytest.raises(PlanError, match="the final merge: in exchange 'gossip' peer 0 has 1 neighbours"):
        laid_out(
            of(lambda view: [Exchange("everybody", Mixing.complete(5))]),
            final_merge=AlongTheTopology(),
            topology=Chain(),
        )
    tree = of(lambda view: [Exchange("tree", Mixing(np.zeros(5), np.array([[0, 1], [1, 2]]), np.ones(2)), "none")])
    assert len(laid_out(tree)) == 4, "rows that do not sum to 1 are not aggregated"
