"""Nodes that come one after the other, too many of them, or the wrong ones: who is in which place of the run."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest
from flwr.app import RecordDict

from dimat_flwr.relay.envelope import RunFacts
from dimat_flwr.relay.gathering import agree_on_places
from dimat_flwr.relay.membership import MembershipError, SetupError
from dimat_flwr.relay.post import Reply
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.wire import names
from dimat_flwr.wire.report import Report
from tests.relay.toy_post import SimulatedClock


class Coming:
    """Nodes that come and go at their times, each of which answers at once, or never.

    Args:
        nodes: node -> (comes at, goes at, its report; None: it does not answer).
    """

    simulation = False
    out_of_reach = 0.0

    def __init__(self, nodes: Mapping[int, tuple[float, float, Report | None]], clock: SimulatedClock) -> None:
        self._nodes, self._clock = nodes, clock
        self.asked: list[int] = []
        self.crashes: dict[int, int] = {}
        self.refused: dict[int, int] = {}  # node -> how many messages to it Flower refuses

    def nodes(self) -> list[int]:
        return sorted(node for node, (comes, goes, _) in self._nodes.items() if comes <= self._clock.time < goes)

    def send(self, node: int, kind: str, content: RecordDict) -> str:
        assert kind == names.SETUP_MESSAGE
        self.asked.append(node)
        if self.refused.get(node, 0):
            self.refused[node] -= 1
            return ""
        return f"{len(self.asked)}:{node}"

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        return [reply for key in ids if (reply := self._answer(key, int(key.split(":")[1]))) is not None]

    def forget(self, ids: Collection[str]) -> None:
        pass

    def _answer(self, key: str, node: int) -> Reply | None:
        if self.crashes.get(node, 0):
            self.crashes[node] -= 1
            return Reply(key, None, "ClientApp stopped responding", temporary=True)
        report = self._nodes[node][2]
        return None if report is None else Reply(key, RecordDict({names.REPORT: report.to_record()}))


NEVER = 1e9


def at(place: int, comes: float = 0.0, goes: float = NEVER, **said: Any) -> tuple[float, float, Report]:
    return comes, goes, Report(place=place, **said)


def gathered(
    nodes: Mapping[int, tuple[float, float, Report | None]], peers: int, *, without: Sequence[int] = (),
    resumed: bool = False, crashes: dict[int, int] | None = None, refused: dict[int, int] | None = None,
    **settings: Any,
) -> tuple[dict[int, int], Coming, float]:  # fmt: skip
    clock = SimulatedClock()
    post = Coming(nodes, clock)
    post.crashes, post.refused = crashes or {}, refused or {}
    facts = RunFacts(peers, "run", False, 3, resumed=resumed)
    claims = agree_on_places(post, facts, RelaySettings(peers=peers, **settings), clock, without)
    return {place: claim.node for place, claim in claims.items()}, post, clock.time


def test_places_are_waited_for_and_not_a_number_of_nodes() -> None:
    spares = {1: at(7), 2: at(8), 3: at(9)}
    places, _, when = gathered({**spares, 50: at(1, comes=5.0), 60: at(0, comes=20.0)}, 2)
    assert places == {0: 60, 1: 50}
    assert 20.0 <= when < 25.0


def test_a_run_that_is_gone_on_with_waits_for_the_peers_it_needs() -> None:
    lost_and_back = {1: at(0), 2: at(3), 4: at(2, comes=30.0)}  # 3 was lost, 1 too, and its device is gone
    places, _, when = gathered(lost_and_back, 4, without=(1, 3), resumed=True)
    assert places == {0: 1, 2: 4, 3: 2}
    assert when >= 30.0


def test_the_places_that_nobody_claims_are_named_when_the_time_is_over() -> None:
    too_few = "2 peers are there, the run needs at least 4: nobody is in place 1, 3"
    with pytest.raises(MembershipError, match=too_few) as e:
        gathered({1: at(0), 2: at(2), 3: at(9)}, 4, join_timeout=30.0)
    assert "node 3 claims place 9, but 4 peers have places 0 to 3" in str(e.value)
    with pytest.raises(MembershipError, match="nobody is in place 1") as e:
        gathered({1: at(0), 2: at(-1)}, 2, resumed=True, join_timeout=30.0)
    assert "node 2 claims no place" in str(e.value)
    assert "whatever relay.min_peers is; where a device is gone for good, start a new run" in str(e.value)
    assert "partition-id" in str(e.value)


def test_a_supernode_that_is_started_anew_is_not_taken_for_a_rival_of_itself() -> None:
    places, _, when = gathered({1: at(0, comes=10.0), 2: at(1, goes=40.0), 3: at(1, comes=2.0)}, 2)
    assert places == {0: 1, 1: 3}
    assert 40.0 <= when < 45.0
    with pytest.raises(MembershipError, match="nodes 2 and 3 both claim place 1"):
        gathered({1: at(0, comes=10.0), 2: at(1), 3: at(1, comes=2.0)}, 2, join_timeout=30.0)


def test_one_that_went_after_its_answer_has_its_place_unless_another_claims_it() -> None:
    places, _, when = gathered({1: at(0, comes=10.0), 2: at(1, goes=5.0)}, 2)
    assert (places, when < 15.0) == ({0: 1, 1: 2}, True), "it is away, as if it had gone later"
    nodes = {1: at(0, comes=30.0), 2: at(1, goes=5.0), 3: at(1, comes=10.0, goes=15.0), 4: at(1, comes=20.0)}
    assert gathered(nodes, 2)[0] == {0: 1, 1: 4}
    with pytest.raises(MembershipError, match="nobody is in place 1"):
        gathered({1: at(0, comes=10.0), 2: at(-1, goes=5.0)}, 2)


def test_one_that_went_without_an_answer_is_not_waited_for() -> None:
    places, _, when = gathered({1: at(0), 2: (0.0, 20.0, None), 3: at(1, comes=3.0)}, 2)
    assert places == {0: 1, 1: 3}
    assert when < 25.0
    with pytest.raises(SetupError, match=r"nodes \[2\] did not answer the handshake.*\nnobody is in place 1"):
        gathered({1: at(0), 2: (0.0, NEVER, None)}, 2, straggler_timeout=1.0, give_up_timeout=100.0)


def test_a_node_whose_process_dies_over_the_question_is_asked_again_and_not_for_ever() -> None:
    places, post, _ = gathered({1: at(0), 2: at(1)}, 2, crashes={2: 2})
    assert (places, post.asked.count(2)) == ({0: 1, 1: 2}, 3)
    with pytest.raises(SetupError, match="node 2: the ClientApp failed: ClientApp stopped responding"):
        gathered({1: at(0), 2: at(1)}, 2, crashes={2: 3})


def test_a_node_that_goes_between_the_look_and_the_question_is_asked_again_and_not_for_ever() -> None:
    places, post, when = gathered({1: at(0), 2: at(1)}, 2, refused={2: 2})
    assert (places, post.asked.count(2), when < 10.0) == ({0: 1, 1: 2}, 3, True)
    places, post, _ = gathered({1: at(0), 2: at(1, goes=0.5), 3: at(1, comes=5.0)}, 2, refused={2: 9})
    assert (places, post.asked.count(2)) == ({0: 1, 1: 3}, 1)
    with pytest.raises(SetupError, match="node 2: Flower refused a message to it"):
        gathered({1: at(0), 2: at(1)}, 2, refused={2: 3})


def test_in_a_simulation_nobody_is_waited_for_once_somebody_is_there() -> None:
    clock = SimulatedClock()
    post = Coming({1: at(0, comes=4.0), 2: at(1, comes=4.0)}, clock)
    post.simulation = True
    found = agree_on_places(post, RunFacts(2, "run", True, 3), RelaySettings(peers=2), clock)
    assert [claim.node for claim in found.values()] == [1, 2]
    with pytest.raises(MembershipError, match=r'nobody is in place 2;.*\n.*num-supernodes=3"'):
        agree_on_places(post, RunFacts(3, "run", True, 3), RelaySettings(peers=3), clock)
    assert clock.time < 10.0


def test_what_is_wrong_with_a_spare_node_stops_nobody() -> None:
    places, _, _ = gathered({1: at(7, problem="no data"), 2: at(0), 3: at(1)}, 2)
    assert places == {0: 2, 1: 3}
    with pytest.raises(SetupError, match="peer 0: no data\npeer 1: no GPU"):
        gathered({1: at(0, problem="no data"), 2: at(1, comes=9.0, problem="no GPU")}, 2)


def test_fewer_are_enough_only_when_the_time_is_over() -> None:
    places, _, when = gathered({1: at(0), 2: at(2), 3: at(1, comes=50.0)}, 4, min_peers=2)
    assert places == {0: 1, 1: 3, 2: 2}
    assert when >= 60.0
    with pytest.raises(MembershipError, match="the run needs at least 4: nobody is in place 3"):
        gathered({1: at(0), 2: at(2), 3: at(1, comes=50.0)}, 5, min_peers=4, without=())


def test_what_is_waited_for_is_said_while_it_takes_long(caplog: pytest.LogCaptureFixture) -> None:
    clock = SimulatedClock()
    nodes = {1: (0.0, NEVER, Report(place=0)), 2: (0.0, NEVER, None), 3: (95.0, NEVER, Report(place=1))}
    settings = RelaySettings(peers=2, join_timeout=200)
    with caplog.at_level(logging.INFO, logger="flwr"):
        agree_on_places(Coming(nodes, clock), RunFacts(2, "run", False, 3), settings, clock)
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("waiting for")]
    line = "waiting for peers: nobody is in place 1; start those SuperNodes, too; nodes 2 have not answered yet"
    assert said[:3] == [line] * 3
    assert 3 < len(said) <= 6
    assert said[-1] == "waiting for peers: nodes 2 have not answered yet"
