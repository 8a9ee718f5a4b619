"""Messages that Flower refuses or loses at a bad moment: they are sent again, and nobody is failed for it."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from dimat_flwr.events import Away, Failure, Returned
from dimat_flwr.relay.post import Reply
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.wire import names
from tests.relay import town
from tests.relay.town import Life, Mortal, Town
from tests.relay.toy_post import make_plan

PATIENT = RelaySettings(straggler_timeout=3000, give_up_timeout=3600, repeat_timeout=3500)


def unlucky(node: int, kind: str, how: str, times: int = 1):
    """Let the first messages of a kind to a node meet with something."""
    left = Counter({(node, kind): times})

    def luck(node: int, kind: str) -> str:
        left[node, kind] -= 1
        return how if left[node, kind] >= 0 else ""

    return luck


def moves_house(how: str, kind: str) -> Life:
    """Peer 1 takes its instruction of round 2 along; who comes into its place with node 200 meets with something."""
    gone: list[int] = []

    def delay(place: int, instruction: object) -> float:
        if place == 1 and instruction is not None and instruction.round == 2 and not gone:
            gone.append(place)
            return 1e9
        return 1.0

    calendar = [(4.0, 101, None), (6.0, 200, Mortal(1))]
    peers = [Mortal(place) for place in range(4)]
    life = Life(make_plan(4, 4), peers, calendar, delay, PATIENT, unlucky(200, kind, how))
    assert gone == [1]
    return life


def test_a_message_that_is_refused_on_its_way_to_a_peers_new_node_is_sent_again() -> None:
    for how in ("refused", "lost"):
        life = moves_house(how, names.EXCHANGE_MESSAGE)
        assert (life.survivors, life.recorder.of(Failure)) == ([0, 1, 2, 3], [])
        assert life.clock.now() < 60.0


def test_a_node_that_loses_the_question_who_it_is_is_asked_again() -> None:
    for how in ("refused", "lost"):
        life = moves_house(how, names.SETUP_MESSAGE)
        assert (life.survivors, life.recorder.of(Failure)) == ([0, 1, 2, 3], [])
        assert life.clock.now() < 60.0


def test_a_message_that_is_refused_while_its_node_comes_back_is_sent_again_and_not_for_ever() -> None:
    peers = [Mortal(place) for place in range(4)]
    life = Life(make_plan(4, 4), peers, (), settings=PATIENT, luck=unlucky(102, names.EXCHANGE_MESSAGE, "refused", 2))
    assert life.survivors == [0, 1, 2, 3]
    assert [stamped.peer for stamped in life.recorder.of(Away)] == [2, 2]
    assert [stamped.peer for stamped in life.recorder.of(Returned)] == [2]
    life = Life(make_plan(4, 4), peers, (), settings=PATIENT, luck=unlucky(102, names.EXCHANGE_MESSAGE, "refused", 99))
    (failure,) = life.recorder.of(Failure)
    assert (failure.peer, "too large" in failure.event.error) == (2, True)


def test_a_peer_whose_process_dies_over_every_message_is_asked_ever_less_often() -> None:
    life = Life(
        make_plan(4, 4), [Mortal(place) for place in range(4)], (), settings=PATIENT,
        luck=unlucky(102, names.EXCHANGE_MESSAGE, "lost", 10**6),
    )  # fmt: skip
    assert [stamped.peer for stamped in life.recorder.of(Failure)] == [2]
    asked = [when for when, node, kind in life.town.sent if (node, kind) == (102, names.EXCHANGE_MESSAGE)]
    assert asked[1] < 10.0, "once, it is taken for an accident"
    assert 20 < len(asked) < 80
    assert len(life.recorder.of(Away)) == len(asked)


def test_a_twin_does_not_get_the_place_of_a_peer_that_is_there_and_lost_one_process() -> None:
    twin = Mortal(1)
    left = [1]

    def luck(node: int, kind: str) -> str:  # the fourth message to node 101: the twin is there and waits
        left[0] += (node, kind) == (101, names.EXCHANGE_MESSAGE)
        return "lost" if (node, kind) == (101, names.EXCHANGE_MESSAGE) and left[0] in (9, 10) else ""

    peers = [Mortal(place) for place in range(4)]
    life = Life(make_plan(4, 12), peers, [(1.5, 200, twin)], settings=PATIENT, luck=luck)
    assert [stamped.event.reason for stamped in life.recorder.of(Away)] == ["ClientApp stopped responding."] * 2
    assert (twin.asked, twin.seen) == (1, [])
    assert [instruction.round for instruction in peers[1].seen] == list(range(13))


def test_an_answer_that_comes_when_its_repeat_was_refused_is_taken_and_it_is_not_asked_once_more() -> None:
    """A slow peer is asked again, and that is refused: its answer to the first message is on its way all the same."""
    for patience, more, refused in ((10.5, 0.6, 1), (11.0, 1.2, 1), (12.5, 0.6, 1), (10.0, 5.0, 4), (10.0, 60.0, 5)):
        waiting = RelaySettings(straggler_timeout=3000, give_up_timeout=3600, repeat_timeout=patience)
        refusing, sent = range(4, 4 + refused), Counter[int]()

        def luck(node: int, kind: str, sent: Counter[int] = sent, refusing: range = refusing) -> str:
            sent[node] += kind == names.EXCHANGE_MESSAGE
            return "refused" if node == 102 and sent[node] in refusing else ""

        def delay(place: int, instruction: object, seconds: float = patience + more) -> float:
            return seconds if place == 2 and instruction is not None and instruction.round == 2 else 1.0

        peers = [Mortal(place) for place in range(4)]
        life = Life(make_plan(4, 12), peers, (), delay, waiting, luck)
        assert (life.survivors, life.recorder.of(Failure)) == ([0, 1, 2, 3], [])
        assert [instruction.round for instruction in peers[2].seen] == list(range(13))
        assert [work[0] for work in life.recorder.work if work[2] == 2] == list(range(13))


def test_what_a_node_says_of_its_loss_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Forging(Town):
        def collect(self, ids: Sequence[str]) -> list[Reply]:
            found = super().collect(ids)
            forged = "x" * 10_000 + "gone\nround 1: peer 0 failed and is left out from now on\x1b[2J"
            return [replace(reply, error=forged) if reply.error else reply for reply in found]

    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.INFO, logger="flwr"):
        patch.setattr(town, "Town", Forging)
        life = Life(
            make_plan(4, 4), [Mortal(place) for place in range(4)], (), settings=PATIENT,
            luck=unlucky(102, names.EXCHANGE_MESSAGE, "lost"),
        )  # fmt: skip
    assert len(life.recorder.of(Away)) == 1
    assert not [record for record in caplog.records if set("\n\x1b") & set(record.getMessage())]
    assert max(len(record.getMessage()) for record in caplog.records) < 400
