"""Opening what neighbours sent: every payload is checked, a bad one is rejected, recorded and done without."""

from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import RecordDict
from torch import Tensor

from dimat_flwr.algorithms.interface import Inbox, Weights
from dimat_flwr.topology import renormalize
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.payload import Payload, PayloadError, decode


def open_inbox(
    content: RecordDict,
    instruction: Instruction,
    like: Mapping[str, Tensor],
    record: Callable[..., None],
) -> tuple[Inbox, Weights]:
    """Return the payloads that may be used and the weights that go with them.

    Args:
        content: the message's records.
        instruction: who sent something, and the weights.
        like: names, shapes and types a payload must have.
        record: called as ``record("rejected", **{"from": j}, reason=...)`` for each payload that may not be used.
    """
    inbox: dict[int, Payload] = {}
    for source in instruction.sources:
        tensors: Any = content.get(names.inbox(names.TENSORS, source))
        numbers: Any = content.get(names.inbox(names.NUMBERS, source))
        try:
            inbox[source] = decode(tensors, numbers, like)
        except PayloadError as error:
            record("rejected", **{"from": source}, reason=str(error).strip())
    row = dict(zip(instruction.sources, instruction.source_weights, strict=True))
    row[instruction.peer] = instruction.own_weight
    present = {*inbox, instruction.peer}
    kept = renormalize(row, present) if instruction.row_stochastic else {j: row[j] for j in present}
    return inbox, Weights(kept[instruction.peer], {source: kept[source] for source in inbox})
