"""What can happen in a run: the one vocabulary of peers, relay, records and progress.

Peers tell the first kinds (``PeerEvent``) in their reports, the relay alone tells the others. A peer's events
arrive as bytes that nobody vouches for: ``decode_events`` returns typed events or raises ``EventError``, whatever the
bytes. Limits hold for every field, so that no single report can weigh more than ``MAX_REPORT_BYTES``.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass as plain_dataclass
from dataclasses import fields
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

MAX_REPORT_BYTES = 32_000
MAX_EVENTS = 200
MAX_LABEL = 200
MAX_GROUPS = 1000
MAX_REASON = 500
MAX_ERROR = 20_000
MAX_PEERS = 1_000_000
MAX_INTEGER = 2**53  # what every reader of JSON holds exactly
MAX_FIGURE = 1e100  # above this a figure says "diverged", and its square would overflow in a mean or a spread

Stage = Literal["after_merge", "after_training"]
STAGES: tuple[Stage, ...] = get_args(Stage)
Absence = Literal["failed", "late", "rejected"]  # why a source's payload is missing

# Control characters but \n and \t, lone surrogates, and what splits or reverses a line in a terminal or an editor.
_UNCLEAN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_STRICT = ConfigDict(extra="forbid")


class EventError(ValueError):
    """Bytes that are no events; the text is one line."""


def is_clean(text: str) -> bool:
    """Whether a text may stand in a record: valid Unicode without control characters, line feed and tab aside."""
    return _UNCLEAN.search(text) is None


def clip(text: str, limit: int) -> str:
    """Return the text cleaned and, if it is too long, its end: where a traceback says what happened.

    Args:
        text: any text, of any length.
        limit: characters that the result may have, at least 4.
    """
    if len(text) > limit:
        text = "... " + text[len(text) - (limit - 4) :]
    return _UNCLEAN.sub("?", text)


def _clean(text: str) -> str:
    if not is_clean(text):
        raise ValueError("holds control characters or half a surrogate pair")
    return text


def _finite(value: object) -> object:
    """Turn what JSON does not have, and what has diverged, into None; in a list, too, but not in lists in it."""
    if isinstance(value, list | tuple):
        return [None if _diverged(item) else item for item in value]
    return None if _diverged(value) else value


def _diverged(value: object) -> bool:
    return isinstance(value, float) and not abs(value) <= MAX_FIGURE


def _stays_below(path: str) -> str:
    if path.startswith("/") or "\\" in path or ".." in path.split("/"):
        raise ValueError("is not a path below the run's folder")
    return path


_Index = Annotated[int, Field(strict=True, ge=0, le=MAX_INTEGER)]
_Integer = Annotated[int, Field(strict=True, ge=-MAX_INTEGER, le=MAX_INTEGER)]
_Real = Annotated[float, Field(strict=True, ge=-MAX_FIGURE, le=MAX_FIGURE)]
_Seconds = Annotated[float, Field(strict=True, ge=0, le=MAX_FIGURE)]
_Share = Annotated[float, Field(strict=True, ge=0, le=1)]
_Percentage = Annotated[Annotated[float, Field(strict=True, ge=0, le=100)] | None, BeforeValidator(_finite)]
_Figure = Annotated[_Real | None, BeforeValidator(_finite)]
_Key = Annotated[str, Field(min_length=1, max_length=40), AfterValidator(_clean)]
_Label = Annotated[str, Field(max_length=MAX_LABEL), AfterValidator(_clean)]
_Reason = Annotated[str, Field(max_length=MAX_REASON), AfterValidator(_clean)]
_Error = Annotated[str, Field(max_length=MAX_ERROR), AfterValidator(_clean)]
_Figures = Annotated[list[_Figure], Field(max_length=256)]
_Value = Annotated[_Integer | _Real | _Label | _Figures | None, BeforeValidator(_finite)]


@dataclass(frozen=True, config=_STRICT)
class Evaluation:
    """A peer measured its model on the test set.

    Attributes:
        stage: at which point of the round.
        accuracy: in percent, over all classes; None where the task has none.
        local_accuracy: the same, weighted as the peer's own classes are.
        loss: mean loss per sample; None if it is not finite.
    """

    kind: ClassVar[str] = "evaluation"
    stage: Stage
    accuracy: _Percentage
    local_accuracy: _Percentage = None
    loss: _Figure = None


@dataclass(frozen=True, config=_STRICT)
class Training:
    """A peer trained: mean loss over the samples it saw, how many, in how many optimizer steps and seconds."""

    kind: ClassVar[str] = "training"
    loss: _Figure
    samples: _Index
    steps: _Index
    seconds: _Seconds


@dataclass(frozen=True, config=_STRICT)
class Merge:
    """A peer mixed models: its neighbours' in ``sources``, with ``weights`` (1 + S,), the peer's own first."""

    kind: ClassVar[str] = "merge"
    sources: list[_Index]
    weights: list[_Real]
    seconds: _Seconds

    @model_validator(mode="after")
    def _one_weight_each(self) -> Self:
        if len(self.weights) != len(self.sources) + 1:
            raise ValueError(f"has {len(self.weights)} weights for {len(self.sources)} sources and the peer itself")
        return self


@dataclass(frozen=True, config=_STRICT)
class Aligned:
    """A peer aligned a neighbour's model: the share of its units that changed places, in [0, 1]."""

    kind: ClassVar[str] = "aligned"
    source: _Index
    units_moved: _Share


@dataclass(frozen=True, config=_STRICT)
class Rejected:
    """A payload that may not be used, and why."""

    kind: ClassVar[str] = "rejected"
    source: _Index
    reason: _Reason


@dataclass(frozen=True, config=_STRICT)
class Final:
    """What a peer ends with, measured on exactly the tensors that it saved.

    Attributes:
        accuracy: in percent, over all classes.
        local_accuracy: the same, weighted as the peer's own classes are.
        loss: mean loss per sample.
        file: where the tensors are, relative to the run's folder on the peer's machine; empty if they were not saved.
        sha256: of the file, 64 hexadecimal digits; empty if not saved.
        bytes: size of the file.
    """

    kind: ClassVar[str] = "final"
    accuracy: _Percentage
    local_accuracy: _Percentage = None
    loss: _Figure = None
    file: Annotated[_Label, AfterValidator(_stays_below)] = ""
    sha256: Annotated[str, Field(pattern="^(?:[0-9a-f]{64})?$")] = ""
    bytes: _Index = 0


@dataclass(frozen=True, config=_STRICT)
class Privacy:
    """What a peer's private training has told of each of its samples so far.

    Attributes:
        epsilon: see ``learning.accounting``; None if there is no bound.
        delta: what it is told for.
        steps: private steps so far.
    """

    kind: ClassVar[str] = "privacy"
    epsilon: _Figure
    delta: _Share
    steps: _Index


@dataclass(frozen=True, config=_STRICT)
class Note:
    """An algorithm's own figures: up to 16 numbers, short texts or lists of numbers under a name."""

    kind: ClassVar[str] = "note"
    name: Annotated[str, Field(pattern="^[a-z0-9_]{1,40}$")]
    values: Annotated[dict[_Key, _Value], Field(max_length=16)]


@dataclass(frozen=True, config=_STRICT)
class Counterfactual:
    """What the mean of ``models`` peers' models, which nobody adopts, does at this peer; see ``Evaluation``."""

    kind: ClassVar[str] = "counterfactual"
    accuracy: _Percentage
    local_accuracy: _Percentage
    loss: _Figure
    models: _Index


@dataclass(frozen=True, config=_STRICT)
class Consensus:
    """How far ``models`` peers' models x_i are from their mean m: sqrt(mean_i |x_i - m|^2), over all parameters."""

    kind: ClassVar[str] = "consensus"
    stage: Stage
    distance: _Figure
    models: _Index


@dataclass(frozen=True, config=_STRICT)
class GradientNorm:
    """The norm of the mean of ``models`` peers' full gradients at the mean of all models."""

    kind: ClassVar[str] = "gradient_norm"
    norm: _Figure
    models: _Index


@dataclass(frozen=True, config=_STRICT)
class UnitsMoved:
    """The share of units that changed places, for each permutation group, as a mean over all that a peer aligned."""

    kind: ClassVar[str] = "units_moved"
    groups: Annotated[dict[_Label, _Share], Field(max_length=MAX_GROUPS)]

    @classmethod
    def of(cls, shares: Mapping[str, float]) -> Self:
        """Return the event of a network's groups: the first ``MAX_GROUPS``, under the ends of names that are too long.

        Args:
            shares: group -> share, from 0 to 1.
        """
        return cls({clip(group, MAX_LABEL): share for group, share in islice(shares.items(), MAX_GROUPS)})


@dataclass(frozen=True, config=_STRICT)
class Failure:
    """A peer is out for the rest of the run; the text is cleaned and clipped, whoever wrote it."""

    kind: ClassVar[str] = "failure"
    error: Annotated[_Error, BeforeValidator(lambda text: clip(text, MAX_ERROR) if isinstance(text, str) else text)]


@dataclass(frozen=True, config=_STRICT)
class Late:
    """``reader`` went on without this peer, which is still at work."""

    kind: ClassVar[str] = "late"
    reader: _Index


@dataclass(frozen=True, config=_STRICT)
class Absent:
    """``reader`` went on without this peer, and why."""

    kind: ClassVar[str] = "absent"
    reader: _Index
    reason: Absence


@dataclass(frozen=True, config=_STRICT)
class CaughtUp:
    """A late peer is back, and how many exchanges passed without it."""

    kind: ClassVar[str] = "caught_up"
    exchanges_skipped: _Index


@dataclass(frozen=True, config=_STRICT)
class Away:
    """A peer cannot be reached; it is asked again when it is back."""

    kind: ClassVar[str] = "away"
    reason: Annotated[_Error, BeforeValidator(lambda text: clip(text, MAX_REASON) if isinstance(text, str) else text)]


@dataclass(frozen=True, config=_STRICT)
class Returned:
    """A peer that was away, or whose answer did not come, is asked again."""

    kind: ClassVar[str] = "returned"


@dataclass(frozen=True, config=_STRICT)
class Muted:
    """A peer used up its share of the record: so many of its events are not in it."""

    kind: ClassVar[str] = "muted"
    dropped: _Index


# What instruments observed; an algorithm tells none of these.
Observed = Counterfactual | Consensus | GradientNorm | UnitsMoved
PeerEvent = Evaluation | Training | Merge | Aligned | Rejected | Final | Privacy | Note | Observed
Event = PeerEvent | Failure | Late | Absent | CaughtUp | Away | Returned | Muted

_TOLD_BY_PEERS: dict[str, type[PeerEvent]] = {kind.kind: kind for kind in get_args(PeerEvent)}
_KINDS: dict[str, type[Event]] = {kind.kind: kind for kind in get_args(Event)}
_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in _KINDS.values()}
_READERS: dict[str, Callable[[object], Event]] = {
    name: TypeAdapter(kind).validate_python for name, kind in _KINDS.items()
}
# What goes first when a report has to be shortened; the last is the dearest.
_DISPENSABLE: tuple[type[PeerEvent], ...] = (
    *get_args(Observed),
    Note,
    Aligned,
    Rejected,
    Merge,
    Training,
    Evaluation,
    Privacy,
    Final,
)


@plain_dataclass(frozen=True, slots=True)
class Stamped:
    """An event with what the relay knows of it: which round and exchange, whose it is. So it goes into the record."""

    event: Event
    round: int
    peer: int
    exchange: str

    def to_line(self) -> dict[str, Any]:
        """Return the event as one JSON object of metrics.jsonl."""
        return {
            "event": self.event.kind,
            "round": self.round,
            "peer": self.peer,
            "exchange": self.exchange,
            **_values(self.event),
        }

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Read one line of metrics.jsonl.

        Raises:
            EventError: it is cut off or damaged.
        """
        found = _parse(line)
        if not isinstance(found, dict):
            raise EventError("a line of the record is no JSON object")
        stamp = [found.pop(key, None) for key in ("round", "peer", "exchange")]
        match stamp:
            case [int(round_number), int(peer), str(exchange)] if round_number >= 0 and 0 <= peer < MAX_PEERS:
                return cls(_read(found, _KINDS), round_number, peer, exchange)
        raise EventError("a line of the record lacks its round, peer or exchange")


def to_json(event: Event) -> dict[str, Any]:
    """Return an event as a JSON object: its kind under ``event``, and its fields."""
    return {"event": event.kind, **_values(event)}


def encode_events(events: Iterable[PeerEvent]) -> bytes:
    """Return events as bytes that ``decode_events`` takes: a JSON list in UTF-8.

    A report that would be too large is shortened, least important kinds first, and a note ``events_dropped`` says so:
    an honest peer must not fail because many neighbours gave it something to tell.
    """
    texts = [(event, _dump(to_json(event))) for event in events]
    if len(texts) > MAX_EVENTS or sum(len(text) + 1 for _, text in texts) + 1 > MAX_REPORT_BYTES:
        texts = _shortened(texts)
    return b"[" + b",".join(text for _, text in texts) + b"]"


def decode_events(data: object) -> list[PeerEvent]:
    """Read a peer's events, trusting nothing about them.

    Raises:
        EventError: they are anything but at most ``MAX_EVENTS`` events that a peer may tell, in at most
            ``MAX_REPORT_BYTES`` bytes. Nothing else is ever raised.
    """
    if not isinstance(data, bytes):
        raise EventError(f"events are {type(data).__name__}, not bytes")
    if len(data) > MAX_REPORT_BYTES:
        raise EventError(f"events of {len(data):,} bytes; at most {MAX_REPORT_BYTES:,} are taken")
    found = _parse(data)
    if not isinstance(found, list):
        raise EventError("events are no list")
    if len(found) > MAX_EVENTS:
        raise EventError(f"{len(found):,} events; at most {MAX_EVENTS} are taken")
    return [_read(item, _TOLD_BY_PEERS) for item in found]  # type: ignore[misc]


def _values(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in _FIELDS[type(event)]}


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _shortened(texts: list[tuple[PeerEvent, bytes]]) -> list[tuple[PeerEvent, bytes]]:
    room, places = MAX_REPORT_BYTES - 200, MAX_EVENTS - 1  # the rest is for the note
    kept: set[int] = set()
    for number in sorted(range(len(texts)), key=lambda k: (-_DISPENSABLE.index(type(texts[k][0])), k)):
        size = len(texts[number][1]) + 1
        if places and size <= room:
            kept.add(number)
            room, places = room - size, places - 1
    note = Note("events_dropped", {"dropped": len(texts) - len(kept)})
    return [texts[number] for number in sorted(kept)] + [(note, _dump(to_json(note)))]


def _parse(data: bytes) -> object:
    try:
        return json.loads(
            data.decode("utf-8"),
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_float,
            object_pairs_hook=_object,
        )
    except (ValueError, RecursionError) as error:
        raise EventError(clip(f"not the JSON of events: {error}", MAX_REASON).replace("\n", " ")) from None


def _integer(text: str) -> int:
    # The length first: Python takes quadratic time for a long numeral, and refuses more than 4,300 digits.
    if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
        raise ValueError("an integer beyond 2^53")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not abs(value) <= MAX_FIGURE:
        raise ValueError("a number that is not finite, or beyond 1e100")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object that names a key twice")
    if not all(is_clean(key) for key in found):
        raise ValueError("a key with control characters")
    return found


def _read(found: object, allowed: Mapping[str, type[Event]]) -> Event:
    if not isinstance(found, dict):
        raise EventError("an event is no JSON object")
    kind = found.pop("event", None)
    if not isinstance(kind, str) or kind not in allowed:
        told = f"'{clip(kind, 40)}'" if isinstance(kind, str) else type(kind).__name__
        raise EventError(f"an event of kind {told}, which is not one of {', '.join(allowed)}".replace("\n", " "))
    try:
        return _READERS[kind](found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EventError(clip(f"event '{kind}', {where}: {first['msg']}", MAX_REASON).replace("\n", " ")) from None
