"""A peer's reply besides its payload: the place it claims, what happened, or why it failed."""

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

_FIELDS = ("place", "error", "problem", "events")


class ReportError(ValueError):
    """A reply's report is missing or malformed; the text is one line."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a peer tells the relay in one reply.

    Attributes:
        place: the place the peer claims in the topology (Flower's ``partition-id``), -1 where it has none.
        error: why the exchange failed at this peer, with its traceback; empty if it did not.
        problem: why the peer cannot take part at all (found before any training); empty if it can.
        events: what happened, in order.
    """

    place: int = -1
    error: str = ""
    problem: str = ""
    events: list[PeerEvent] = field(default_factory=list)

    def to_record(self) -> ConfigRecord:
        """Return the report as the record to put into a reply; texts that are too long keep their end."""
        return ConfigRecord(
            {
                "place": self.place,
                "error": clip(self.error, MAX_ERROR),
                "problem": clip(self.problem, MAX_ERROR),
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
    place, error, problem, events = (record[name] for name in _FIELDS)
    if type(place) is not int or not -1 <= place <= MAX_INTEGER:
        raise ReportError("malformed report: the place is no index and not -1")
    for name, text in (("error", error), ("problem", problem)):
        if type(text) is not str or len(text) > MAX_ERROR or not is_clean(text):
            raise ReportError(f"malformed report: {name} is not a clean text of at most {MAX_ERROR:,} characters")
    try:
        return Report(place=place, error=str(error), problem=str(problem), events=decode_events(events))
    except EventError as fault:
        raise ReportError(f"malformed report: {fault}") from None
