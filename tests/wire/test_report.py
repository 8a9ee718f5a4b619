"""A peer's reports: what is honest always passes, what is not is refused whatever it is."""

import pytest
from flwr.app import ConfigRecord, MetricRecord

from dimat_flwr.events import MAX_ERROR, Evaluation, Training
from dimat_flwr.wire.report import Report, ReportError, read_report

SENT = Report(place=3, seconds=1.5, events=[Evaluation("after_merge", 97.5), Training(0.1, 3, 1, 0.5)])


def changed(**fields: object) -> ConfigRecord:
    return ConfigRecord({**SENT.to_record(), **fields})  # type: ignore[dict-item]


def test_a_report_survives_the_wire() -> None:
    assert read_report(SENT.to_record()) == SENT
    assert read_report(Report().to_record()) == Report()


def test_the_longest_and_strangest_error_of_an_honest_peer_passes() -> None:
    received = read_report(Report(error="\x1b\ud800é" * 50_000 + "\nRuntimeError: the end", problem="\0").to_record())
    assert received.error.endswith("\nRuntimeError: the end")
    assert len(received.error) == MAX_ERROR
    assert received.problem == "?"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"place": -2}, "the place is no index"),
        ({"place": 2**63}, "the place is no index"),
        ({"place": True}, "the place is no index"),
        ({"place": "0"}, "the place is no index"),
        ({"error": "x" * (MAX_ERROR + 1)}, "error is not a clean text"),
        ({"problem": "x" * 100_000_000}, "problem is not a clean text"),
        ({"error": "\x1b[2J"}, "error is not a clean text"),
        ({"error": "\ud800"}, "error is not a clean text"),
        ({"error": b"x"}, "error is not a clean text"),
        ({"seconds": -1.0}, "the seconds are no duration"),
        ({"seconds": float("nan")}, "the seconds are no duration"),
        ({"seconds": float("inf")}, "the seconds are no duration"),
        ({"seconds": 1}, "the seconds are no duration"),
        ({"seconds": "1"}, "the seconds are no duration"),
        ({"events": "[]"}, "events are str, not bytes"),
        ({"events": [b"[]"]}, "events are list, not bytes"),
        ({"events": b"[" * 600}, "not the JSON of events"),
        ({"events": b"[" + b"9" * 5000 + b"]"}, "an integer beyond"),
        ({"events": b'[{"event": "failure", "error": "peer 3"}]'}, "'failure', which is not one of"),
        ({"more": 1}, "not a record of exactly"),
    ],
)
def test_a_malformed_report_is_refused_in_one_line(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ReportError, match=message) as caught:
        read_report(changed(**fields))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 600


@pytest.mark.parametrize("record", [3, b"", {}, dict(SENT.to_record()), ConfigRecord(), MetricRecord({"place": 1})])
def test_what_is_no_report_is_refused(record: object) -> None:
    with pytest.raises(ReportError, match="not a record of exactly"):
        read_report(record)


def test_a_reply_without_a_report_is_refused() -> None:
    with pytest.raises(ReportError, match="holds no report"):
        read_report(None)
