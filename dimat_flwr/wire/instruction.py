"""The relay's order to one peer for one exchange, and for the setup before it, as a Flower ``ConfigRecord``."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from flwr.app import ConfigRecord
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from dimat_flwr.events import MAX_FIGURE, MAX_INTEGER, Absence, clip, is_clean
from dimat_flwr.topology.exchange import SETUP
from dimat_flwr.topology.row import Row, Sums

Handler = Literal["algorithm", "final_merge", "instruments"]  # who handles an exchange at the peers

MAX_BYTES = 16_000_000  # the row of a peer with 100,000 sources has 3 MB
_RECORD_KEY = "json"
_BY_PEER = ("absent", "earlier", "introductions")  # fields whose keys are peers
_STRICT = ConfigDict(extra="forbid")


class InstructionError(ValueError):
    """A message's instruction is missing or malformed; the text is one line."""


def _clean(text: str) -> str:
    if not is_clean(text):
        raise ValueError("holds control characters")
    return text


def _to_row(value: object) -> object:
    """Return the row that a JSON object describes; anything else stays as it is, to be refused."""
    match value:
        case {"own": own, "sources": list(sources), "weights": list(weights), "sums": sums, **extra} if not extra:
            if len(sources) != len(weights):
                raise ValueError(f"names {len(sources)} sources but {len(weights)} weights")
            _check_row(own, sources, weights, sums)
            return Row(float(own), dict(zip(sources, map(float, weights), strict=True)), sums)
    return value


def _check_row(own: Any, sources: list[Any], weights: list[Any], sums: Any) -> None:
    if any(type(source) is not int for source in sources) or sources != sorted(set(sources)):
        raise ValueError("the sources are not indices in ascending order")
    if any(type(weight) not in (float, int) or not abs(weight) <= MAX_FIGURE for weight in (own, *weights)):
        raise ValueError("a weight is not a finite number")
    if sums not in get_args(Sums):
        raise ValueError(f"sums is not one of {', '.join(get_args(Sums))}")


_Index = Annotated[int, Field(strict=True, ge=0, le=MAX_INTEGER)]
_Place = Annotated[int, Field(strict=True, ge=-1, le=MAX_INTEGER)]
_Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_clean)]
_Introduction = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_clean)]
_Truth = Annotated[bool, Field(strict=True)]
_Scalar = (
    Annotated[bool, Field(strict=True)]
    | Annotated[int, Field(strict=True)]
    | Annotated[float, Field(strict=True)]
    | Annotated[str, Field(strict=True)]
)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Next:
    """The exchange that the answer's payload is published for.

    Attributes:
        round: its round.
        exchange: its name.
        handler: who handles it: the algorithm, the merge after the last round, or the instruments.
        readers: the peers that will read it, ascending; empty where nobody will.
        behind: those of them who did not get what this peer published last for an exchange of that name.
    """

    round: _Index
    exchange: _Name
    handler: Handler
    readers: list[_Index]
    behind: list[_Index] = Field(default_factory=list)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Instruction:
    """What a peer is asked to do with one message.

    Attributes:
        peer: the receiver's index in the topology, 0-based; -1 in the setup, before places are assigned.
        peers: number of peers of the run.
        run: name of the run, and of its folder under each machine's own ``output-dir``.
        simulation: whether all peers run in one Flower simulation (allows ``match_data: pooled``).
        round: the round; 0 before the first exchange.
        rounds: the last round's number.
        number: the exchange's place in the run, 0 for the start.
        after: that of the exchange which the receiver finished last, as the relay knows it; -1 for none.
        exchange: name of the exchange whose payloads arrive; ``start`` for exchange 0, ``setup`` before places are
            assigned.
        handler: who handles it.
        row: the receiver's row of the mixing matrix over the peers whose payloads lie in the message, as it is before
            any of them is found unusable.
        absent: the sources whose payloads do not lie in the message, and why.
        private: the sources whose payload is for this receiver alone; those of the others go to all readers alike.
        earlier: source -> the round that its payload was published for, where that is not this one: a late peer's.
        introductions: in exchange 0 of a run that signs: every peer's place -> what it said of itself in the handshake.
        next: what the answer is published for; None after the last exchange.
        ends: whether what follows, if anything, is for instruments alone: nobody's model changes after this exchange.
        keep: the receiver's earlier exchanges whose checkpoints the run may still need; in a restore, all of them.
        joins: whether the receiver comes new and begins with this exchange: with a neighbour's model for its own.
        resumed: in the setup: whether a run is gone on with, so that the receiver is to tell of its checkpoints.
        settings: in a run that is gone on with, its run-config, in the place of the one that Flower has; else empty.
    """

    peer: _Place
    peers: Annotated[int, Field(strict=True, ge=1, le=MAX_INTEGER)]
    # It names a folder at every peer, so it must not lead out of theirs.
    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=+,-]{0,199}$")]
    simulation: _Truth
    round: _Index = 0
    rounds: _Index = 0
    number: _Index = 0
    after: _Place = -1
    exchange: _Name = SETUP
    handler: Handler = "algorithm"
    row: Annotated[InstanceOf[Row], BeforeValidator(_to_row)] = Field(default_factory=lambda: Row(1.0, {}, "none"))
    absent: dict[_Index, Absence] = Field(default_factory=dict)
    private: list[_Index] = Field(default_factory=list)
    earlier: dict[_Index, _Index] = Field(default_factory=dict)
    introductions: dict[_Index, _Introduction] = Field(default_factory=dict)
    next: Next | None = None
    ends: _Truth = False
    keep: list[_Index] = Field(default_factory=list)
    joins: _Truth = False
    resumed: _Truth = False
    settings: dict[_Name, _Scalar] = Field(default_factory=dict)

    @property
    def is_last(self) -> bool:
        """Whether this is the last exchange of the run in which a peer's model may change."""
        return self.next is None or self.ends

    @model_validator(mode="after")
    def _within_the_run(self) -> Self:
        if self.peer >= self.peers:
            raise ValueError(f"peer {self.peer} of {self.peers}")
        if self.round > self.rounds + 1:
            raise ValueError(f"round {self.round} of {self.rounds}")
        if self.joins and self.after >= 0:
            raise ValueError(f"a newcomer that has done exchange {self.after}")
        if self.after >= self.number:
            raise ValueError(f"exchange {self.number} after exchange {self.after}")
        named = {
            **self.row.sources,
            **dict.fromkeys(self.absent),
            **dict.fromkeys(self.next.readers if self.next else ()),
        }
        if any(not 0 <= other < self.peers for other in self.introductions):
            raise ValueError("somebody is introduced who is no peer of the run")
        if self.peer in named or any(not 0 <= other < self.peers for other in named):
            raise ValueError("a source, reader or absent peer is not another peer of the run")
        if self.row.sources.keys() & self.absent.keys():
            raise ValueError("a source is absent")
        if self.next and not set(self.next.behind) <= set(self.next.readers):
            raise ValueError("somebody is behind who will not read")
        return self

    def to_record(self) -> ConfigRecord:
        """Return the instruction as the record to put into a message."""
        fields: dict[str, Any] = {**vars(self)}
        for name in _BY_PEER:
            fields[name] = [list(item) for item in fields[name].items()]  # JSON's keys are texts
        fields["row"] = {
            "own": self.row.own,
            "sources": list(self.row.sources),
            "weights": list(self.row.sources.values()),
            "sums": self.row.sums,
        }
        fields["next"] = None if self.next is None else vars(self.next)
        return ConfigRecord({_RECORD_KEY: json.dumps(fields)})


_read = TypeAdapter(Instruction).validate_python


def read_instruction(record: object) -> Instruction:
    """Read the instruction of a message.

    Raises:
        InstructionError: there is none, or it is malformed. Nothing else is ever raised.
    """
    if record is None:
        raise InstructionError("the message holds no instruction: it was not sent by a dimat_flwr relay")
    text = record.get(_RECORD_KEY) if isinstance(record, ConfigRecord) and len(record) == 1 else None
    if type(text) is not str or len(text) > MAX_BYTES:
        raise InstructionError("malformed instruction: not a record of one JSON text")
    try:
        found = json.loads(text)
        if not isinstance(found, Mapping):
            raise InstructionError("malformed instruction: no JSON object")
        pairs = {name: dict(found.get(name, ())) for name in _BY_PEER}
        return _read({**found, **pairs})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InstructionError(_line(f"{where}: {first['msg']}")) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise InstructionError(_line(str(error))) from None


def _line(reason: str) -> str:
    return clip(f"malformed instruction from the relay: {reason}", 500).replace("\n", " ")
