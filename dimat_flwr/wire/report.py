"""A peer's reply besides its payload: the place it claims, what happened, or why it failed."""

import json
from dataclasses import dataclass, field

from flwr.app import ConfigRecord

from dimat_flwr.events import (
    MAX_ERROR,
    MAX_INTEGER,
    EventError,
    PeerEvent,
    clip,
    decode_events,
    encode_events,
    is_clean,
)

_FIELDS = ("place", "error", "problem", "introduction", "kept", "lost", "seconds", "events")
_MAX_INTRODUCTION = 300  # characters
_MAX_NUMBERS = 1000
_MAX_SECONDS = 1e9  # 31 years


class ReportError(ValueError):
    """A reply's report is missing or malformed; the text is one line."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a peer tells the relay in one reply.

    Attributes:
        place: the place the peer claims in the topology (Flower's ``partition-id``), -1 where it has none.
        error: why the exchange failed at this peer, with its traceback; empty if it did not.
        problem: why the peer cannot take part at all (found before any training); empty if it can.
        introduction: what the other peers are to know of this one, in a run that signs; said in the handshake.
        kept: in the setup of a run that is gone on with: the exchanges of which the peer has a checkpoint, ascending.
        lost: those of which it should have one that is damaged or missing.
        seconds: how long the peer worked at this message, by its own clock.
        events: what happened, in order.
    """

    place: int = -1
    error: str = ""
    problem: str = ""
    introduction: str = ""
    kept: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    seconds: float = 0.0
    events: list[PeerEvent] = field(default_factory=list)

    def to_record(self) -> ConfigRecord:
        """Return the report as the record to put into a reply; texts that are too long keep their end."""
        return ConfigRecord(
            {
                "place": self.place,
                "error": clip(self.error, MAX_ERROR),
                "problem": clip(self.problem, MAX_ERROR),
                "introduction": self.introduction,
                "kept": json.dumps(self.kept[-_MAX_NUMBERS:]),
                "lost": json.dumps(self.lost[-_MAX_NUMBERS:]),
                "seconds": self.seconds,
                "events": encode_events(self.events),
            }
        )


def read_report(record: object) -> Report:
    """Read a reply's report, trusting nothing about it.

    Raises:
        ReportError: it is missing, or anything about it is not as ``Report.to_record`` makes it.
    """
    if record is None:
        raise ReportError("the reply holds no report: it was not sent by a dimat_flwr peer")
    if not isinstance(record, ConfigRecord) or sorted(map(str, record)) != sorted(_FIELDS):
        raise ReportError(f"malformed report: not a record of exactly {', '.join(_FIELDS)}")
    place, error, problem, introduction, kept, lost, seconds, events = (record[name] for name in _FIELDS)
    if type(place) is not int or not -1 <= place <= MAX_INTEGER:
        raise ReportError("malformed report: the place is no index and not -1")
    if type(seconds) is not float or not 0 <= seconds <= _MAX_SECONDS:
        raise ReportError("malformed report: the seconds are no duration")
    limits = {"error": MAX_ERROR, "problem": MAX_ERROR, "introduction": _MAX_INTRODUCTION}
    for (name, limit), text in zip(limits.items(), (error, problem, introduction), strict=True):
        if type(text) is not str or len(text) > limit or not is_clean(text):
            raise ReportError(f"malformed report: {name} is not a clean text of at most {limit:,} characters")
    try:
        told = decode_events(events)
    except EventError as fault:
        raise ReportError(f"malformed report: {fault}") from None
    numbers = [_read_numbers(name, text) for name, text in (("kept", kept), ("lost", lost))]
    return Report(
        place=place,
        error=str(error),
        problem=str(problem),
        introduction=str(introduction),
        kept=numbers[0],
        lost=numbers[1],
        seconds=seconds,
        events=told,
    )


def _read_numbers(name: str, text: object) -> list[int]:
    """Read ascending numbers of exchanges from JSON."""
    try:
        # The length first: what is read has then few and short numbers.
        found = json.loads(text) if type(text) is str and len(text) <= 20 * _MAX_NUMBERS else None
    except (ValueError, RecursionError):
        found = None
    if not (
        isinstance(found, list)
        and len(found) <= _MAX_NUMBERS
        and all(type(number) is int and 0 <= number <= MAX_INTEGER for number in found)
        and found == sorted(set(found))
    ):
        raise ReportError(f"malformed report: {name} is no ascending list of exchanges")
    return found
