"""SuperNodes that are started anew during a run: known by their place, as soon as that is vacant."""

from collections.abc import Collection, Mapping, Sequence

import pytest
from flwr.app import RecordDict

from dimat_flwr.relay.envelope import RunFacts
from dimat_flwr.relay.post import Reply
from dimat_flwr.relay.whereabouts import LOOK_S, Whereabouts
from dimat_flwr.security.identity import Identity, Introduction, new_nonce
from dimat_flwr.wire import names
from dimat_flwr.wire.report import Report


class Nodes:
    """Connected nodes, each of which claims a place when it is asked."""

    simulation = False
    out_of_reach = 0.0

    def __init__(self, places: dict[int, int]) -> None:
        self.places, self.asked, self.problem, self.introduction = places, list[int](), "", ""

    def nodes(self) -> list[int]:
        return sorted(self.places)

    def send(self, node: int, kind: str, content: RecordDict) -> str:
        self.asked.append(node)
        return f"{node}"

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        said = {"problem": self.problem, "introduction": self.introduction}
        told = {key: Report(place=self.places[int(key)], **said) for key in ids}
        return [Reply(key, RecordDict({names.REPORT: report.to_record()})) for key, report in told.items()]

    def forget(self, ids: Collection[str]) -> None:
        pass


def started(places: dict[int, int], introductions: Mapping[int, str] | None = None) -> tuple[Nodes, Whereabouts]:
    nodes = Nodes(dict(places))
    return nodes, Whereabouts(nodes, [10, 11], RunFacts(2, "run", False, 3, introductions or {}))


def test_a_node_that_is_back_before_the_old_one_is_missed_takes_its_place_then() -> None:
    nodes, whereabouts = started({10: 0, 11: 1})
    assert whereabouts.look([], [1], 0.0) == []
    nodes.places[12] = 1  # killed and started anew: Flower holds 11 for connected for a minute more
    for look in range(1, 5):
        assert whereabouts.look([], [1], look * LOOK_S) == []
    assert whereabouts.node(1) == 11
    del nodes.places[11]
    assert whereabouts.look([], [1], 5 * LOOK_S) == [1]
    assert whereabouts.node(1) == 12
    assert nodes.asked == [12], "it is asked once"


def test_it_also_takes_the_place_of_a_peer_that_is_away_but_not_while_its_node_is_there() -> None:
    nodes, whereabouts = started({10: 0, 11: 1, 12: 1})
    for look in range(3):
        assert whereabouts.look([], [1], look * LOOK_S) == []
    assert whereabouts.look([1], [], 3 * LOOK_S) == [1], "it has lost a process, and is asked again"
    assert whereabouts.node(1) == 11
    del nodes.places[11]
    assert whereabouts.look([1], [], 4 * LOOK_S) == [1]
    assert whereabouts.node(1) == 12


def test_of_two_that_claim_a_place_one_gets_it() -> None:
    nodes, whereabouts = started({10: 0, 11: 1, 12: 1, 13: 1})
    for look in range(3):
        whereabouts.look([], [1], look * LOOK_S)
    del nodes.places[11]
    assert whereabouts.look([], [1], 3 * LOOK_S) == [1]
    assert whereabouts.node(1) == 12


def test_one_that_went_while_it_waited_is_asked_anew_when_it_is_back() -> None:
    nodes, whereabouts = started({10: 0, 11: 1, 12: 1})
    for look in range(3):
        whereabouts.look([], [1], look * LOOK_S)
    del nodes.places[12]
    assert whereabouts.look([], [1], 3 * LOOK_S) == []
    nodes.places = {10: 0, 12: 1}
    assert whereabouts.look([], [1], 4 * LOOK_S) == []
    assert whereabouts.look([], [1], 5 * LOOK_S) == [1]
    assert nodes.asked == [12, 12]


def test_nobody_takes_a_place_that_is_taken_or_cannot_take_part() -> None:
    nodes, whereabouts = started({10: 0, 11: 1, 12: 0})
    for look in range(4):
        assert whereabouts.look([], [0, 1], look * LOOK_S) == []
    nodes, whereabouts = started({10: 0, 12: 1})
    nodes.problem = "no data"
    for look in range(4):
        assert whereabouts.look([], [1], look * LOOK_S) == []
    assert whereabouts.node(1) == 11


OWN = Identity.new().public


@pytest.mark.parametrize(
    ("says", "node"),
    [
        ("", 11),
        (Introduction(Identity.new().public, new_nonce(), True), 11),
        (Introduction(OWN, new_nonce(), True), 12),
    ],
    ids=["no key", "another key", "its key"],
)
def test_where_peers_sign_a_place_is_taken_with_its_key_only(says: object, node: int) -> None:
    introduced = {0: Identity.new().public, 1: OWN}
    met = {place: str(Introduction(public, new_nonce(), True)) for place, public in introduced.items()}
    nodes, whereabouts = started({10: 0, 12: 1}, met)
    nodes.introduction = str(says)
    for look in range(3):
        whereabouts.look([1], [], look * LOOK_S)
    assert whereabouts.node(1) == node
    nodes.places[11] = 1  # the one that was away is back
    assert whereabouts.look([1], [], 3 * LOOK_S) == [1]
    assert whereabouts.node(1) == node
