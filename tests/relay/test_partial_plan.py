"""Partial participation: the graph of a round is drawn over those who take part in it."""

import pytest

from dimat_flwr.algorithms.epidemic import Epidemic
from dimat_flwr.algorithms.fedavg import FedAvg
from dimat_flwr.algorithms.relaysgd import RelaySGD
from dimat_flwr.relay.plan import Plan
from dimat_flwr.relay.planners import PlanError
from dimat_flwr.topology import Row, ScheduleError, TopologyError
from dimat_flwr.topology.chain import Chain
from dimat_flwr.topology.ring import Ring
from dimat_flwr.topology.schedules.always import Always
from dimat_flwr.topology.schedules.partial import Partial
from dimat_flwr.topology.torus import Torus
from tests.relay.toy_post import Averaging, NoFinalMerge


def plan(algorithm=None, topology=None, schedule=None, peers=4, rounds=3):
    return Plan(algorithm or Averaging(), NoFinalMerge(), topology or Ring(), schedule or Always(), peers, rounds, 0)


def test_with_a_partial_schedule_the_graph_is_drawn_over_those_who_take_part():
    found = plan(topology=Ring(), schedule=Partial(share=0.5), peers=8, rounds=40)
    seen = []
    for planned in found[1:]:
        linked = sorted({peer for edge in planned.mixing.edges for peer in edge})
        assert len(linked) == 4
        around = list(zip(linked, (*linked[1:], linked[0]), strict=True))
        assert planned.mixing.edges == sorted({*around, *((b, a) for a, b in around)})
        alone = [peer for peer in range(8) if peer not in linked]
        assert all(planned.mixing.row(peer) == Row(1.0, {}) for peer in alone)
        seen.append(tuple(linked))
    assert len(set(seen)) > 20
    assert {peer for linked in seen for peer in linked} == set(range(8))
    assert found.parts(range(8)) == [list(range(8))], "over the rounds all hear of each other"
    gap, shrinks = found.mixes(100)
    assert gap is None
    assert shrinks is not None
    assert 0 < shrinks < 1
    again = plan(topology=Ring(), schedule=Partial(share=0.5), peers=8, rounds=40)
    assert all(mine.mixing.is_like(theirs.mixing) for mine, theirs in zip(found, again, strict=True))


def test_algorithms_with_graphs_of_their_own_draw_them_over_those_who_take_part():
    for algorithm, edges in ((FedAvg(), 12), (Epidemic(readers=2), 8)):
        found = plan(algorithm, topology=Ring(), schedule=Partial(share=0.5), peers=8, rounds=20)
        for planned in found[1:]:
            assert len({peer for edge in planned.mixing.edges for peer in edge}) == 4
            assert planned.mixing.edge_count == edges
    with pytest.raises(PlanError, match="no peer of 2 has 2 others"):
        plan(Epidemic(readers=2), topology=Ring(), schedule=Partial(share=0.1), peers=8)


def test_a_tree_that_must_stay_and_a_topology_that_does_not_exist_for_so_few_are_refused():
    with pytest.raises(PlanError, match="tree that stays the same"):
        plan(RelaySGD(), topology=Chain(), schedule=Partial(share=0.5), peers=8)
    with pytest.raises(TopologyError):
        plan(topology=Torus(), schedule=Partial(share=0.5), peers=10)
    whole = plan(topology=Torus(), schedule=Partial(share=1.0), peers=9)
    assert whole[1].mixing.is_like(plan(topology=Torus(), peers=9)[1].mixing)


@pytest.mark.parametrize("returned", [[1, 0], [0, 9], [1, 1], "ab", None])
def test_a_schedule_that_lets_nobody_take_part_that_there_is_is_refused(returned):
    class Odd(Always):
        def takes_part(self, round, peers, seed):
            return returned

    with pytest.raises(ScheduleError, match="takes_part"):
        plan(schedule=Odd())
