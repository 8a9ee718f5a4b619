"""The relay's order to one peer for one phase, and for the setup before it, as Flower ``ConfigRecord``s."""

from typing import Any

from flwr.app import ConfigRecord
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

_STRICT = ConfigDict(extra="forbid")


class InstructionError(ValueError):
    """A message's instruction is missing or malformed."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Instruction:
    """What a peer is asked to do with one message.

    Attributes:
        peer: the receiver's index in the topology, 0-based; -1 in the setup, before places are assigned.
        peers: number of peers of the run.
        run_name: name of the run's folder, under each machine's own ``output-dir``.
        simulation: whether all peers run in one Flower simulation (allows ``match_data: pooled``).
        round_number: the round; 0 is the local training before the first exchange.
        phase: name of the phase within the round (``setup`` before the places are assigned).
        exchange: whether this phase's graph has any edge at all; False in a round without communication.
        sources: the peers whose payloads lie in the message, in ascending order; the receiver itself is not among them.
        source_weights: weight of each source's payload, in the same order.
        own_weight: the receiver's weight on its own model. For a row-stochastic W it sums to 1 with ``source_weights``.
        row_stochastic: whether weights are to be renormalized when a payload is rejected (not so for push-sum).
        readers: the peers that will read what this step publishes; empty when nobody will.
        last: whether this is the peer's last step of the run.
    """

    peer: int = Field(ge=-1)
    peers: int = Field(ge=1)
    run_name: str
    simulation: bool
    round_number: int = Field(default=0, ge=0)
    phase: str = "setup"
    exchange: bool = False
    sources: list[int] = Field(default_factory=list)
    source_weights: list[float] = Field(default_factory=list)
    own_weight: float = 1.0
    row_stochastic: bool = True
    readers: list[int] = Field(default_factory=list)
    last: bool = False

    def to_record(self) -> ConfigRecord:
        """Return the instruction as the record to put into a message."""
        fields: dict[str, Any] = TypeAdapter(Instruction).dump_python(self)
        return ConfigRecord(fields)


def read_instruction(record: ConfigRecord | None) -> Instruction:
    """Read an instruction from a message; raise ``InstructionError`` if there is none or it is malformed."""
    if record is None:
        raise InstructionError("the message holds no instruction: it was not sent by a dimat_flwr relay")
    try:
        instruction = Instruction(**dict(record))  # type: ignore[arg-type]
    except (ValidationError, TypeError) as error:
        raise InstructionError(f"malformed instruction from the relay: {error}") from error
    if len(instruction.sources) != len(instruction.source_weights):
        raise InstructionError(
            f"the instruction names {len(instruction.sources)} sources but {len(instruction.source_weights)} weights"
        )
    return instruction
