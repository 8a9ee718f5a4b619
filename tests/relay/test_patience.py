"""A device that takes a message and never answers it, of which nobody tells the relay."""

from dimat_flwr.events import Late, Returned
from dimat_flwr.relay.patience import Patience
from tests.relay.toy_post import Relayed, ToyPeer, make_plan


def test_a_peer_is_known_by_how_long_it_takes_for_the_same() -> None:
    patience = Patience(1800.0)
    assert patience.of(3, "merge", 1) == 1800.0
    patience.took(3, "merge", 30.0)
    patience.took(3, "merge", 20.0)
    assert [patience.of(3, "merge", asked) for asked in (1, 2, 3, 4, 5)] == [120.0, 240.0, 480.0, 960.0, 1800.0]
    assert (patience.of(4, "merge", 1), patience.of(3, "final", 1)) == (1800.0, 1800.0)
    patience.took(4, "merge", 0.01)
    assert patience.of(4, "merge", 1) == 60.0
    assert patience.of(4, "merge", 5000) == 1800.0


def test_a_message_that_a_device_lost_is_sent_again_before_anybody_goes_on_without_it() -> None:
    lost = []

    def delay(place: int, instruction: object) -> float:
        if place == 1 and instruction.round == 3 and not lost:
            lost.append(instruction)
            return 1e9
        return 20.0

    peers = [ToyPeer(place) for place in range(4)]
    run = Relayed(peers, make_plan(4, 5), workers=64, delay=delay, straggler_timeout=600.0, repeat_timeout=1800.0)
    assert run.survivors == [0, 1, 2, 3]
    assert [(event.peer, event.round) for event in run.recorder.of(Returned)] == [(1, 3)]
    assert run.recorder.of(Late) == []
    assert run.clock.now() < 6 * 20.0 + 4 * 20.0 + 10.0
