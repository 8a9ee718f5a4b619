"""What a codec remembers is what it could read: of refused blobs nothing, of refused sources all the same."""

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from flwr.app import RecordDict

from dimat_flwr.peer.inbox import open_inbox
from dimat_flwr.peer.state import PeerState
from dimat_flwr.topology import Row
from dimat_flwr.wire import names
from dimat_flwr.wire.codecs.base import Codec, Passage
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.payload import Expected, Payload, pack, to_record, unpack

X = {"x": torch.arange(3.0)}


class Remembering(Codec):
    """Notes that it is reading before it knows whether it can."""

    exact: ClassVar[bool] = False

    def encode(self, payload, passage, memory, readers):
        return pack(payload)

    def decode(self, blob, passage, expected, memory):
        memory[f"from {passage.source}"] = torch.tensor(passage.round)
        return unpack(blob, expected)


def opened(blobs: dict[int, bytes], refused: tuple[int, ...] = ()) -> tuple[Any, Any, list[Any], PeerState]:
    row = Row(1 / 4, dict.fromkeys(blobs, 1 / 4))
    instruction = Instruction(
        peer=0, peers=4, run="r", simulation=True, round=2, rounds=3, exchange="merge", row=row, earlier={2: 1}
    )
    content = RecordDict({names.inbox(source): to_record(blob) for source, blob in blobs.items()})
    events: list[Any] = []
    session = SimpleNamespace(record=events.append, absent={}, passage=lambda *about: Passage("r", *about))
    algorithm = SimpleNamespace(expects=lambda exchange, peer: Expected(X))
    state = PeerState(codec={"from 3": torch.tensor(0)})
    inbox, row = open_inbox(content, instruction, algorithm, Remembering(), session, state, None, refused=refused)
    return inbox, session.absent, events, state


def test_a_blob_that_cannot_be_read_leaves_no_trace_in_the_memory():
    good = pack(Payload(X))
    inbox, absent, events, state = opened({1: good, 2: good, 3: good[:-1]})
    assert list(inbox) == [1, 2]
    assert absent == {3: "rejected"}
    assert [event.source for event in events] == [3]
    assert {key: int(value) for key, value in state.codec.items()} == {"from 1": 2, "from 2": 1, "from 3": 0}


def test_what_a_refused_source_sent_is_remembered_and_not_used():
    good = pack(Payload(X))
    inbox, absent, events, state = opened({1: good, 2: good[:-1], 3: good}, refused=(2, 3))
    assert list(inbox) == [1]
    assert absent == {2: "rejected", 3: "rejected"}
    assert events == [], "why they were refused is told by who refused them"
    assert int(state.codec["from 3"]) == 2
    assert "from 2" not in state.codec


@pytest.mark.parametrize("numbers", [{"w": 2.0}, {}])
def test_numbers_are_part_of_what_is_expected(numbers: dict[str, float]):
    from dimat_flwr.wire.payload import PayloadError

    with pytest.raises(PayloadError, match="number"):
        unpack(pack(Payload(X, numbers)), Expected(X, {"w": (0.0, 1.0)}))
