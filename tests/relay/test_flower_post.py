"""The relay over a Flower grid: real messages, refused messages, error replies, replies that cannot be read."""

import time
from collections.abc import Iterable

import pytest
from flwr.app import Message, RecordDict

from dimat_flwr.events import Failure
from dimat_flwr.relay import FlowerPost, RelaySettings
from dimat_flwr.relay.clock import SystemClock
from dimat_flwr.relay.envelope import RunFacts
from dimat_flwr.relay.traffic import RelayLoop
from tests.in_memory_grid import FunctionGrid
from tests.relay.toy_post import ListRecorder, ToyPeer, make_plan


def handler(peer: ToyPeer):
    return lambda message: Message(peer(message.metadata.message_type, message.content), reply_to=message)


def relay(grid: FunctionGrid, peers: int, rounds: int) -> tuple[list[int], ListRecorder]:
    recorder, post = ListRecorder(), FlowerPost(grid)
    facts = RunFacts(peers, "toy", post.simulation, rounds)
    loop = RelayLoop(post, post.nodes(), make_plan(peers, rounds), facts, RelaySettings(), recorder, SystemClock())
    return loop.run(), recorder


def test_a_run_over_a_grid_with_a_peer_that_raises() -> None:
    class Raises(ToyPeer):
        def work(self, instruction):
            if instruction.round == 2:
                raise RuntimeError("out of memory")
            return super().work(instruction)

    peers = [ToyPeer(0), Raises(1), ToyPeer(2), ToyPeer(3)]
    survivors, recorder = relay(FunctionGrid({peer.place + 5: handler(peer) for peer in peers}), 4, 3)
    assert survivors == [0, 2, 3]
    (failure,) = recorder.of(Failure)
    assert (failure.peer, failure.event.error) == (1, "RuntimeError: out of memory")
    assert peers[2].inboxes[1] == {1: "1>1.merge", 3: "3>1.merge"}


def test_the_nodes_are_ascending_and_a_test_grid_is_no_simulation() -> None:
    post = FlowerPost(FunctionGrid({9: handler(ToyPeer(0)), 3: handler(ToyPeer(1))}))
    assert post.nodes() == [3, 9]
    assert post.simulation is False


def test_flowers_grid_of_simulations_is_known_by_its_name() -> None:
    from flwr.superlink.grid.inmemory_grid import InMemoryGrid

    assert FlowerPost(InMemoryGrid.__new__(InMemoryGrid)).simulation is True


@pytest.mark.parametrize("answer", [[], [None]])
def test_a_refused_message_has_no_id(answer: list[None]) -> None:
    class Refuses(FunctionGrid):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            return answer

    assert FlowerPost(Refuses({1: handler(ToyPeer(0))})).send(1, "train.exchange", RecordDict()) == ""


def test_a_reply_that_flower_cannot_build_costs_no_other_peer_its_reply() -> None:
    """As with a SuperLink: building a reply from hostile bytes raises, and what was pulled with it would be lost."""

    class Builds(FunctionGrid):
        hostile = ""

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            found = list(super().pull_messages(message_ids))
            if self.hostile in {message.metadata.reply_to_message_id for message in found}:
                raise KeyError("no such class: Gift")
            return found

    grid = Builds({place: handler(ToyPeer(place)) for place in range(3)})
    post = FlowerPost(grid)
    from dimat_flwr.wire import names
    from dimat_flwr.wire.instruction import Instruction

    hello = Instruction(peer=-1, peers=3, run="toy", simulation=False).to_record()
    ids = [post.send(place, names.SETUP_MESSAGE, RecordDict({names.INSTRUCTION: hello})) for place in range(3)]
    grid.hostile = ids[1]
    replies = {}
    while len(replies) < 3:
        time.sleep(0.001)
        replies |= {reply.message_id: reply for reply in post.collect([key for key in ids if key not in replies])}
    assert replies[ids[0]].content is not None
    assert replies[ids[2]].content is not None
    assert replies[ids[1]].content is None
    assert "cannot be read: KeyError: 'no such class: Gift'" in replies[ids[1]].error


def test_a_lost_way_to_the_superlink_is_nobodys_failure() -> None:
    import httpx

    class Unplugged(FunctionGrid):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            raise httpx.ConnectError("connection refused")

    post = FlowerPost(Unplugged({1: lambda message: Message(RecordDict(), reply_to=message)}))
    message_id = post.send(1, "train.exchange", RecordDict())
    with pytest.raises(httpx.ConnectError):
        post.collect([message_id])
