"""What a peer keeps from one message to the next, in Flower's ``context.state`` and in checkpoints; it stays there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from dimat_flwr.learning import Evaluation, Spent
from dimat_flwr.wire.payload import Payload, pack, unpack_own

_BLOB, _FACTS = "blob", "facts"
_SEPARATOR = "\x1f"  # between the parts of a tensor's name; no module or parameter can have it in its own


@dataclass
class Trust:
    """What a peer knows of keys in a run that signs; empty in others.

    Attributes:
        secret: of an identity that was made for this simulation, in hexadecimal; empty where there is a key file.
        nonce: what this peer said of itself in its introduction, in hexadecimal.
        introductions: place -> what the others said of themselves; they do not change any more.
        heard: see ``Protection``.
    """

    secret: str = ""
    nonce: str = ""
    introductions: dict[int, str] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)


@dataclass
class PeerState:
    """A peer between two messages.

    Attributes:
        model: the model's state dict; empty before the first exchange.
        settled: BatchNorm's statistics measured for just this model, by name; empty where none were asked for since
            the model last changed.
        stale: whether the statistics in ``model`` are a mixture that is true of no model.
        optimizer: the optimizer's moments as ``<parameter>/<name>``, where they are kept from round to round.
        slots: the algorithm's own tensors: slot -> name -> tensor.
        codec: the codec's memory.
        observed: what instruments look at later in the round.
        batches_drawn: minibatches taken one at a time so far, so that the next one goes on in the epoch's order.
        measured: the last evaluation while the model has not changed since.
        spent: private steps so far; empty where there is no privacy.
        number: the exchange that the peer finished last, by its place in the run; -1 before the first.
        trust: keys.
    """

    model: dict[str, Tensor] = field(default_factory=dict)
    settled: dict[str, Tensor] = field(default_factory=dict)
    stale: bool = False
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    slots: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    codec: dict[str, Tensor] = field(default_factory=dict)
    observed: dict[str, Tensor] = field(default_factory=dict)
    batches_drawn: int = 0
    measured: Evaluation | None = None
    spent: Spent = field(default_factory=list)
    number: int = -1
    trust: Trust = field(default_factory=Trust)


def load_state(records: RecordDict) -> PeerState:
    """Read a peer's state from ``context.state``; a fresh one where there is none. Its tensors may be written to."""
    facts, blob = _facts(records), records.get(_BLOB)
    if facts is None or not isinstance(blob, ArrayRecord):
        return PeerState()
    return unpack_state(blob["tensors"].data, facts)


def kept_number(records: RecordDict) -> int:
    """Return the exchange that the peer finished last as ``context.state`` has it, -1 where there is none."""
    facts = _facts(records)
    return -1 if facts is None else int(facts["number"])


def kept_account(records: RecordDict) -> Spent:
    """Return the private steps that ``context.state`` knows of, also where the peer is about to go back from it."""
    facts = _facts(records)
    return [] if facts is None else [(sigma, rate, steps) for sigma, rate, steps in facts["spent"]]


def _facts(records: RecordDict) -> dict[str, Any] | None:
    record = records.get(_FACTS)
    if not isinstance(record, ConfigRecord):
        return None
    facts: dict[str, Any] = json.loads(str(record["json"]))
    return facts


def save_state(state: PeerState, records: RecordDict) -> None:
    """Put a peer's state into ``context.state``, replacing what was there."""
    blob, facts = pack_state(state)
    records[_BLOB] = ArrayRecord({"tensors": Array("uint8", (len(blob),), "dimat.state", blob)})
    records[_FACTS] = ConfigRecord({"json": json.dumps(facts)})


def pack_state(state: PeerState) -> tuple[bytes, dict[str, Any]]:
    """Return a peer's tensors as one blob, and the rest as what JSON can hold."""
    tensors: dict[str, Tensor] = {}
    for part in ("model", "settled", "optimizer", "codec", "observed"):
        named: Mapping[str, Tensor] = getattr(state, part)
        tensors |= {f"{part}{_SEPARATOR}{name}": tensor for name, tensor in named.items()}
    for slot, named in state.slots.items():
        tensors |= {f"slots{_SEPARATOR}{slot}{_SEPARATOR}{name}": tensor for name, tensor in named.items()}
    return pack(Payload(tensors)), {
        "stale": state.stale,
        "batches_drawn": state.batches_drawn,
        "measured": None if state.measured is None else _figures(state.measured),
        "spent": state.spent,
        "number": state.number,
        "trust": vars(state.trust),
    }


def unpack_state(blob: bytes, facts: Mapping[str, Any]) -> PeerState:
    """Return what ``pack_state`` packed. Its tensors may be written to."""
    state = PeerState(
        stale=facts["stale"],
        batches_drawn=facts["batches_drawn"],
        spent=[(sigma, rate, steps) for sigma, rate, steps in facts["spent"]],
        number=facts["number"],
        trust=Trust(**facts["trust"]),
    )
    state.trust.introductions = {int(place): text for place, text in state.trust.introductions.items()}
    if facts["measured"] is not None:
        loss, correct, counts = facts["measured"]
        state.measured = Evaluation(loss, np.array(correct, np.int64), np.array(counts, np.int64))
    for name, tensor in unpack_own(blob).items():
        part, *path = name.split(_SEPARATOR)
        if part == "slots":
            state.slots.setdefault(path[0], {})[path[1]] = tensor
        else:
            getattr(state, part)[path[0]] = tensor
    return state


def _figures(measured: Evaluation) -> list[Any]:
    return [measured.loss, measured.class_correct.tolist(), measured.class_counts.tolist()]
