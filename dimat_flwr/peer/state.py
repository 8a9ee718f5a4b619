"""What a peer keeps from one message to the next, in Flower's ``context.state``; it never leaves the peer."""

import json
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from torch import Tensor

_WEIGHTS, _TENSORS, _OPTIMIZER, _NUMBERS, _FACTS = "weights", "tensors", "optimizer", "numbers", "facts"


@dataclass
class PeerState:
    """A peer between two messages.

    Attributes:
        weights: the model's state dict; empty before round 0.
        tensors: the algorithm's own tensors.
        numbers: the algorithm's own numbers.
        optimizer: the optimizer's moments as ``<parameter>/<name>`` where they are kept from round to round.
        batches_drawn: minibatches taken one at a time so far, so that the next one goes on in the epoch's order.
        evaluation: the last evaluation while the model has not changed since; empty otherwise.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    batches_drawn: int = 0
    evaluation: dict[str, Any] = field(default_factory=dict)


def load_state(records: RecordDict) -> PeerState:
    """Read a peer's state from ``context.state``; a fresh one where there is none."""
    if _FACTS not in records.config_records:
        return PeerState()
    facts = json.loads(str(records.config_records[_FACTS]["json"]))
    numbers = {name: float(value) for name, value in records.metric_records[_NUMBERS].items()}  # type: ignore[arg-type]
    return PeerState(
        weights=dict(records.array_records[_WEIGHTS].to_torch_state_dict()),
        tensors=dict(records.array_records[_TENSORS].to_torch_state_dict()),
        optimizer=dict(records.array_records[_OPTIMIZER].to_torch_state_dict()),
        numbers=numbers,
        batches_drawn=facts["batches_drawn"],
        evaluation=facts["evaluation"],
    )


def save_state(state: PeerState, records: RecordDict) -> None:
    """Put a peer's state into ``context.state``, replacing what was there."""
    facts = {"batches_drawn": state.batches_drawn, "evaluation": state.evaluation}
    records[_WEIGHTS] = ArrayRecord(state.weights)
    records[_TENSORS] = ArrayRecord(state.tensors)
    records[_OPTIMIZER] = ArrayRecord(state.optimizer)
    records[_NUMBERS] = MetricRecord(dict(state.numbers))
    records[_FACTS] = ConfigRecord({"json": json.dumps(facts)})
