"""Events as JSON: what peers send, trusted in nothing, and the lines of the record."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass as plain_dataclass
from dataclasses import fields
from typing import Any, Self, get_args

from pydantic import TypeAdapter, ValidationError

from dimat_flwr.events.fields import (
    MAX_EVENTS,
    MAX_FIGURE,
    MAX_INTEGER,
    MAX_PEERS,
    MAX_REASON,
    MAX_REPORT_BYTES,
    clip,
    is_clean,
)
from dimat_flwr.events.peer_events import (
    Aligned,
    Evaluation,
    Final,
    Merge,
    Note,
    Observed,
    PeerEvent,
    Privacy,
    Rejected,
    Training,
)
from dimat_flwr.events.relay_events import (
    Absent,
    Away,
    CaughtUp,
    Failure,
    Joined,
    Late,
    Muted,
    Redrawn,
    Resumed,
    Returned,
    Unobserved,
    Vacant,
)


class EventError(ValueError):
    """Bytes that are no events; the text is one line."""


Event = (
    PeerEvent
    | Failure
    | Late
    | Absent
    | CaughtUp
    | Away
    | Returned
    | Resumed
    | Vacant
    | Joined
    | Redrawn
    | Unobserved
    | Muted
)

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
