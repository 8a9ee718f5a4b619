"""Questions before the run whose answers are lost on the way: asked again a few times, and then that counts."""

import logging
from collections.abc import Collection, Sequence

import pytest
from flwr.app import RecordDict

from dimat_flwr.relay.envelope import RunFacts
from dimat_flwr.relay.handshake import answers
from dimat_flwr.relay.meeting import let_all_meet
from dimat_flwr.relay.membership import Claim, SetupError
from dimat_flwr.relay.post import Reply
from dimat_flwr.relay.questions import TRIES, Questions
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.wire import names
from dimat_flwr.wire.report import Report
from tests.relay.toy_post import SimulatedClock


class Unreliable:
    """Every node answers at once, but for what is lost or refused; ``there`` says who is connected at what time."""

    out_of_reach = 0.0

    def __init__(self, clock: SimulatedClock, lost: dict[int, int], refused: dict[int, int], simulation: bool = False):
        self._clock, self._lost, self._refused, self.simulation = clock, dict(lost), dict(refused), simulation
        self.gone_until: dict[int, float] = {}
        self.asked: list[int] = []
        self.forgotten: list[str] = []

    def nodes(self) -> list[int]:
        return [node for node in range(1, 4) if self._clock.now() >= self.gone_until.get(node, 0.0)]

    def send(self, node: int, kind: str, content: RecordDict) -> str:
        self.asked.append(node)
        self._refused[node] = self._refused.get(node, 0) - 1
        return "" if self._refused[node] >= 0 else f"{len(self.asked)}:{node}"

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        return [self._answer(key, int(key.split(":")[1])) for key in ids]

    def _answer(self, key: str, node: int) -> Reply:
        self._lost[node] = self._lost.get(node, 0) - 1
        if self._lost[node] >= 0 or node not in self.nodes():
            return Reply(key, None, "the SuperNode has gone", temporary=True)
        return Reply(key, RecordDict({names.REPORT: Report(place=node).to_record()}))

    def forget(self, ids: Collection[str]) -> None:
        self.forgotten += ids


def meet(lost: dict[int, int], refused: dict[int, int], gone_until: float = 0.0) -> tuple[Unreliable, float]:
    clock = SimulatedClock()
    post = Unreliable(clock, lost, refused)
    post.gone_until = {2: gone_until}
    claims = {place: Claim(place + 1, place) for place in range(3)}
    let_all_meet(post, claims, RunFacts(3, "run", False, 3), RelaySettings(), clock)
    return post, clock.now()


def test_who_loses_an_introduction_is_told_again() -> None:
    post, when = meet(lost={1: 2}, refused={3: 2})
    assert (sorted(post.asked), when < 5.0) == ([1, 1, 1, 2, 3, 3, 3], True)


def test_a_node_that_is_away_is_told_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="flwr"):
        post, when = meet({}, {}, gone_until=100.0)
    assert [record.getMessage() for record in caplog.records] == ["waiting for nodes [2] to answer"] * 3
    assert (post.asked.count(2), 100.0 <= when < 105.0) == (2, True)
    with pytest.raises(SetupError, match=r"nodes \[2\] did not answer the handshake"):
        meet({}, {}, gone_until=1e6)


@pytest.mark.parametrize(("lost", "refused", "told"), [
    ({2: TRIES}, {}, "peer 1: the ClientApp failed: the SuperNode has gone"),
    ({}, {2: TRIES}, "peer 1: Flower refused a message to it"),
])  # fmt: skip
def test_not_for_ever(lost: dict[int, int], refused: dict[int, int], told: str) -> None:
    with pytest.raises(SetupError, match=told):
        meet(lost, refused)


def test_an_answer_that_can_be_done_without_is_not_waited_for_as_the_others_are() -> None:
    def ask(gone: int) -> tuple[list[int], float]:
        post = Unreliable(clock := SimulatedClock(), {}, {})
        post.gone_until = {gone: 1e6}
        questions = Questions[int](post)
        for node in (1, 2, 3):
            questions.ask(node, node, names.RESTORE_MESSAGE, RecordDict())
        found = [key for key, _ in answers(questions, post, RelaySettings(), clock, lambda key: key == 2)]
        assert questions.open() == {}
        return found, clock.now()

    found, when = ask(gone=2)
    assert (found, 60.0 < when < 65.0) == ([1, 3], True)
    with pytest.raises(SetupError, match=r"nodes \[3\] did not answer"):
        ask(gone=3)


def test_in_a_simulation_nobody_goes_and_comes_back() -> None:
    post = Unreliable(SimulatedClock(), {1: 1}, {2: 1}, simulation=True)
    questions = Questions[str](post)
    for node in (1, 2, 3):
        questions.ask(f"about {node}", node, names.MEET_MESSAGE, RecordDict())
    assert questions.open() == {"about 1": 1, "about 3": 3}
    assert {key: reply.error for key, reply in questions.collect() if reply.content is None} == {
        "about 1": "the SuperNode has gone", "about 2": "Flower refused a message to it; is the node still connected?",
    }  # fmt: skip
    assert (questions.open(), questions.collect()) == ({}, [])


def test_nothing_is_waited_for_from_who_has_gone() -> None:
    post = Unreliable(SimulatedClock(), {1: 1}, {})
    questions = Questions[int](post)
    for node in (1, 2):
        questions.ask(node, node, names.MEET_MESSAGE, RecordDict())
    questions.forget_all_but([1])
    assert (questions.open(), post.forgotten) == ({1: 1}, ["2:2"])
    assert questions.collect() == []
    questions.forget_all_but([])
    questions.ask_again([1])
    assert (questions.open(), post.asked) == ({}, [1, 2])
