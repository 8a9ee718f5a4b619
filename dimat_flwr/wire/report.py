"""A peer's reply besides its payload: what happened (events for the run's record) or why it failed."""

import json
import math
from typing import Any

from flwr.app import ConfigRecord
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

MAX_EVENTS = 1000
MAX_TEXT = 20_000
STAGES = ("before_merge", "after_merge", "after_training")
RELAY_EVENTS = ("failure", "late", "absent", "caught_up")  # no peer may tell these of itself or others

Event = dict[str, Any]


class ReportError(ValueError):
    """A reply's report is missing or malformed."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Report:
    """What a peer tells the relay about one step.

    Attributes:
        identity: the place the peer claims in the topology (Flower's ``partition-id``), -1 where it has none.
        error: why the step failed, empty if it did not.
        problem: why the peer cannot take part at all (found during setup, before any training), empty if it can.
        events: JSON objects, one per thing that happened, as they go into ``metrics.jsonl``.
    """

    identity: int = Field(default=-1, ge=-1)
    error: str = Field(default="", max_length=MAX_TEXT)
    problem: str = Field(default="", max_length=MAX_TEXT)
    events: list[str] = Field(default_factory=list, max_length=MAX_EVENTS)

    def to_record(self) -> ConfigRecord:
        """Return the report as the record to put into a reply."""
        return ConfigRecord(TypeAdapter(Report).dump_python(self))


def encode_events(events: list[Event]) -> list[str]:
    """Return events as JSON texts; NaN and infinities, which JSON does not have, become null."""
    return [json.dumps({key: _finite(value) for key, value in event.items()}) for event in events]


def read_report(record: ConfigRecord | None) -> tuple[Report, list[Event]]:
    """Read a reply's report and its events; raise ``ReportError`` if either is missing or malformed."""
    if record is None:
        raise ReportError("the reply holds no report: it was not sent by a dimat_flwr peer")
    try:
        report = Report(**dict(record))  # type: ignore[arg-type]
        events = [json.loads(text) for text in report.events]
    except (ValidationError, TypeError, json.JSONDecodeError, RecursionError) as error:
        raise ReportError(f"malformed report: {error}") from error
    for event in events:
        _check(event)
    return report, events


def _check(event: Any) -> None:
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise ReportError('malformed report: every event is an object with a text under "event"')
    if event["event"] in RELAY_EVENTS:
        raise ReportError(f"malformed report: an event '{event['event']}' is for the relay to tell")
    if event["event"] == "evaluation":
        figures = [event.get("accuracy"), event.get("local_accuracy")]
        if event.get("stage") not in STAGES or not all(_is_percentage(figure) for figure in figures):
            raise ReportError(f"malformed report: not an evaluation with a stage and percentages: {str(event)[:200]}")


def _is_percentage(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and 0 <= value <= 100)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
