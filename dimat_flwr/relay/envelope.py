"""Moving payloads from one message's records to another's, untouched, and counting their bytes."""

from collections.abc import Mapping
from dataclasses import dataclass

from flwr.app import ArrayRecord, MetricRecord, RecordDict

from dimat_flwr.relay.dispatch import Dispatch
from dimat_flwr.relay.plan import Step
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction


@dataclass(frozen=True)
class Envelope:
    """References to one payload's records as they arrived."""

    tensors: ArrayRecord
    numbers: MetricRecord | None

    @property
    def size(self) -> int:
        """Bytes of the payload's data, without Flower's own framing."""
        numbers = 8 * len(self.numbers) if self.numbers is not None else 0
        return sum(len(array.data) for array in self.tensors.values()) + numbers


def read_outbox(content: RecordDict, readers: tuple[int, ...]) -> dict[int, Envelope]:
    """Return reader -> payload from a reply: one for each reader, or one that all of them share."""
    shared = _read(content, None)
    found = {reader: _read(content, reader) or shared for reader in readers}
    return {reader: envelope for reader, envelope in found.items() if envelope is not None}


def _read(content: RecordDict, reader: int | None) -> Envelope | None:
    tensors = content.array_records.get(names.outbox(names.TENSORS, reader))
    if tensors is None:
        return None
    return Envelope(tensors, content.metric_records.get(names.outbox(names.NUMBERS, reader)))


@dataclass(frozen=True)
class RunFacts:
    """What every instruction of a run repeats."""

    peers: int
    run_name: str
    simulation: bool


def compose(dispatch: Dispatch[Envelope], step: Step | None, facts: RunFacts, *, last: bool) -> RecordDict:
    """Return the content of the message that starts one step.

    Args:
        dispatch: who does what with whose payloads.
        step: the exchange it follows; None for the local training of round 0.
        facts: the run's constants.
        last: whether it is the peer's last step.
    """
    instruction = Instruction(
        peer=dispatch.peer,
        peers=facts.peers,
        run_name=facts.run_name,
        simulation=facts.simulation,
        round_number=step.round_number if step else 0,
        phase=step.phase if step else "start",
        exchange=bool(step and step.mixing.edges),
        sources=list(dispatch.payloads),
        source_weights=[dispatch.weights[source] for source in dispatch.payloads],
        own_weight=dispatch.weights[dispatch.peer],
        row_stochastic=step is None or step.mixing.sums == "rows",
        readers=list(dispatch.readers),
        last=last,
    )
    return RecordDict({names.INSTRUCTION: instruction.to_record(), **_inbox(dispatch.payloads)})


def _inbox(payloads: Mapping[int, Envelope]) -> dict[str, ArrayRecord | MetricRecord]:
    records: dict[str, ArrayRecord | MetricRecord] = {}
    for source, envelope in payloads.items():
        records[names.inbox(names.TENSORS, source)] = envelope.tensors
        if envelope.numbers is not None:
            records[names.inbox(names.NUMBERS, source)] = envelope.numbers
    return records
