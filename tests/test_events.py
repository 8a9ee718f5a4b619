"""Events: typed, limited, and read from bytes that nobody vouches for."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dimat_flwr.events import (
    MAX_ERROR,
    MAX_EVENTS,
    MAX_REPORT_BYTES,
    Absent,
    Aligned,
    CaughtUp,
    Consensus,
    Counterfactual,
    Evaluation,
    EventError,
    Failure,
    Final,
    GradientNorm,
    Late,
    Merge,
    Muted,
    Note,
    Observed,
    Rejected,
    Stamped,
    Training,
    UnitsMoved,
    clip,
    decode_events,
    encode_events,
    is_clean,
    to_json,
)

PEER_EVENTS = [
    Evaluation("after_merge", 97.5, 96.0, 0.1),
    Evaluation("after_training", None, None, None),
    Training(0.05, 300, 10, 1.25),
    Merge([1, 3], [0.4, 0.3, 0.3], 0.2),
    Aligned(1, 0.9),
    Rejected(3, "tensor 'bias' holds NaN\n\tor worse: ä"),
    Final(97.5, 96.0, 0.1, "models/peer-2.safetensors", "0f" * 32, 1234),
    Note("consensus", {"distance": 0.5, "tag": "ä", "rounds": -3, "curve": [1.0, 2.0], "nothing": None}),
    Counterfactual(93.0, 92.5, None, 5),
    Consensus("after_merge", 1.5, 5),
    GradientNorm(0.25, 4),
    UnitsMoved({"layer1.0": 0.5, "ä": 1.0}),
]
RELAY_EVENTS = [Failure("lost"), Late(2), Absent(1, "rejected"), CaughtUp(4), Muted(7)]


def told(**fields: object) -> bytes:
    return json.dumps([fields]).encode()


def training(**changes: object) -> bytes:
    return told(**{"event": "training", "loss": 0.5, "samples": 3, "steps": 1, "seconds": 0.1, **changes})


def test_every_event_of_a_peer_survives() -> None:
    assert decode_events(encode_events(PEER_EVENTS)) == PEER_EVENTS
    assert decode_events(encode_events([])) == []


@pytest.mark.parametrize("event", [*PEER_EVENTS, *RELAY_EVENTS], ids=lambda event: event.kind)
def test_every_event_survives_the_record_as_one_line(event) -> None:  # type: ignore[no-untyped-def]
    stamped = Stamped(event, 4, 2, "merge")
    line = stamped.to_line()
    assert list(line)[:4] == ["event", "round", "peer", "exchange"]
    assert line == {**to_json(event), "round": 4, "peer": 2, "exchange": "merge"}
    assert Stamped.from_line(json.dumps(line).encode() + b"\n") == stamped


@pytest.mark.parametrize("event", RELAY_EVENTS, ids=lambda event: event.kind)
def test_no_peer_tells_what_only_the_relay_knows(event) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(EventError, match=f"'{event.kind}', which is not one of evaluation, "):
        decode_events(json.dumps([to_json(event)]).encode())


def test_figures_that_diverged_are_none_for_honest_peers_and_refused_from_others() -> None:
    assert Training(math.nan, 1, 1, 0.0).loss is None
    assert Evaluation("after_merge", 10.0, loss=math.inf).loss is None
    assert Note("x", {"a": [1.0, -math.inf], "b": math.nan}).values == {"a": [1.0, None], "b": None}
    for text in ("NaN", "Infinity", "-Infinity", "1e999", "1e101"):
        with pytest.raises(EventError, match="not finite"):
            decode_events(training(loss=1234567.0).replace(b"1234567.0", text.encode()))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "events are NoneType, not bytes"),
        ("[]", "events are str, not bytes"),
        (b"", "not the JSON of events"),
        (b"{}", "events are no list"),
        (b"[1]", "an event is no JSON object"),
        (b"\xff\xfe", "not the JSON of events: 'utf-8'"),
        ("[]".encode("utf-16"), "not the JSON of events"),
        (b"[" * 600, "not the JSON of events"),
        (b"[" * 30_000, "not the JSON of events"),
        (b"[" * 600 + b"]" * 600, "an event is no JSON object"),
        (b"[" + b"9" * 5000 + b"]", "an integer beyond 2"),
        (training(samples=2**53 + 1), "an integer beyond 2"),
        (training(samples=-1), "event 'training', samples: "),
        (training(samples=True), "event 'training', samples: "),
        (training(samples=3.0), "event 'training', samples: "),
        (training(samples="3"), "event 'training', samples: "),
        (training(seconds="0.1"), "event 'training', seconds: "),
        (training(round=3), "event 'training', round: "),
        (training(event=["training"]), "of kind list, which is not one of"),
        (training(event="x\x1b" * 100), r"of kind '\.\.\. .*', which is not one of"),
        (training().replace(b'"steps": 1', b'"steps": 1, "steps": 1'), "names a key twice"),
        (told(event="evaluation", stage="before_merge", accuracy=1.0), "event 'evaluation', stage: "),
        (told(event="evaluation", stage="after_merge", accuracy=100.1), "event 'evaluation', accuracy"),
        (told(event="merge", sources=[1], weights=[0.5], seconds=0), "1 weights for 1 sources and the peer itself"),
        (told(event="aligned", source=1, units_moved=1.5), "event 'aligned', units_moved: "),
        (told(event="rejected", source=1, reason="x" * 501), "event 'rejected', reason: "),
        (told(event="rejected", source=1, reason="\x1b[2J"), "event 'rejected', reason: .*control characters"),
        (told(event="rejected", source=1, reason="\u2028"), "event 'rejected', reason: .*control characters"),
        (told(event="rejected", source=1, reason="\ud800"), "event 'rejected', reason: "),
        (told(event="note", name="x", values={"\ud800": 1}), "a key with control characters"),
        (told(event="note", name="x y", values={}), "event 'note', name: "),
        (told(event="note", name="x", values={"a" * 41: 1}), "event 'note', values"),
        (told(event="note", name="x", values={str(k): 1 for k in range(17)}), "event 'note', values: "),
        (told(event="note", name="x", values={"a": [1.0] * 257}), "event 'note', values"),
        (told(event="note", name="x", values={"a": {}}), "event 'note', values"),
        (told(event="consensus", stage="after_merge", distance="1", models=2), "event 'consensus', distance"),
        (told(event="units_moved", groups={"a": 1.5}), "event 'units_moved', groups"),
        (told(event="units_moved", groups={"a" * 201: 0.5}), "event 'units_moved', groups"),
        (told(event="units_moved", groups={str(k): 1 for k in range(1001)}), "event 'units_moved', groups: "),
        (told(event="final", accuracy=1.0, file="../../.bashrc"), "event 'final', file: .*below the run's folder"),
        (told(event="final", accuracy=1.0, file="/etc/passwd"), "event 'final', file: .*below the run's folder"),
        (told(event="final", accuracy=1.0, sha256="0F" * 32), "event 'final', sha256: "),
        (json.dumps([to_json(Aligned(1, 0.5))] * 201).encode(), "201 events; at most 200"),
        (b" " * 32_001, "events of 32,001 bytes; at most 32,000"),
    ],
)
def test_whatever_is_wrong_is_one_line(data: object, message: str) -> None:
    with pytest.raises(EventError, match=message) as caught:
        decode_events(data)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 500
    assert is_clean(str(caught.value))


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_keys = st.sampled_from(["event", "stage", "accuracy", "values", "name", "x"])


@given(st.recursive(_scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4)))
def test_any_json_is_read_or_refused(value: object) -> None:
    try:
        found = decode_events(json.dumps(value).encode())
    except EventError:
        return
    assert decode_events(encode_events(found)) == found


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = decode_events(data)
    except EventError:
        return
    assert isinstance(found, list)


@given(st.text(max_size=60) | st.text(st.characters(categories=["Cs", "Cc", "Zl", "Zp", "Cf"])), st.integers(4, 50))
def test_a_clipped_text_always_passes_and_clean_short_ones_are_kept(text: str, limit: int) -> None:
    clipped = clip(text, limit)
    assert len(clipped) <= limit
    event = Rejected(1, clipped)
    assert decode_events(encode_events([event])) == [event]
    if len(text) <= limit and is_clean(text):
        assert clipped == text


def test_the_end_of_a_long_text_is_kept() -> None:
    assert clip("abc" * 100 + "RuntimeError: no", 20) == "... RuntimeError: no"


def test_a_failure_takes_any_text() -> None:
    huge = "\ud800\x00" * 1_000_000 + "the end"
    error = Failure(huge).error
    assert len(error) == MAX_ERROR
    assert error.endswith("?the end")
    assert is_clean(error)


def test_wrong_values_are_refused_where_they_are_made() -> None:
    for make in (
        lambda: Training(0.1, -1, 1, 0.0),
        lambda: Rejected(1, "x" * 501),
        lambda: Evaluation("before_merge", 1.0),  # type: ignore[arg-type]
        lambda: Note("Not a name", {}),
        lambda: Merge([1], [1.0], 0.0),
    ):
        with pytest.raises(ValidationError):
            make()


def test_a_peer_that_rejects_many_still_gets_its_figures_through() -> None:
    # A hundred hostile neighbours give an honest peer a lot to tell; its report must not be refused for that.
    rejections = [Rejected(source, "x" * 500) for source in range(300)]
    sent = encode_events([*rejections, *PEER_EVENTS])
    assert len(sent) <= MAX_REPORT_BYTES
    received = decode_events(sent)
    assert len(received) <= MAX_EVENTS
    kept = [event for event in received if not isinstance(event, Rejected | Note | Aligned | Observed)]
    assert kept == [event for event in PEER_EVENTS if not isinstance(event, Rejected | Note | Aligned | Observed)]
    assert received[-1] == Note("events_dropped", {"dropped": 300 + len(PEER_EVENTS) - len(received) + 1})
    assert sum(isinstance(event, Rejected) for event in received) > 50


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b'{"event": "late", "round": 1, "pee',
        b"[]\n",
        b'{"event": "late", "reader": 1, "round": 1, "peer": 0}\n',
        b'{"event": "late", "reader": 1, "round": "1", "peer": 0, "exchange": "merge"}\n',
        b'{"event": "late", "reader": 1, "round": -1, "peer": 0, "exchange": "merge"}\n',
        b'{"event": "late", "reader": 1, "round": 1, "peer": 9007199254740992, "exchange": "merge"}\n',
        b'{"event": "new", "reader": 1, "round": 1, "peer": 0, "exchange": "merge"}\n',
    ],
)
def test_damaged_lines_are_refused(line: bytes) -> None:
    with pytest.raises(EventError):
        Stamped.from_line(line)


def test_the_vocabulary_needs_nothing_heavy() -> None:
    code = (
        "import sys, dimat_flwr.events, dimat_flwr.records, dimat_flwr.wire.report, dimat_flwr.wire.instruction\n"
        "found = {'torch', 'matplotlib', 'sklearn', 'sympy'} & sys.modules.keys()\nassert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)


def test_units_moved_can_be_told_of_any_network() -> None:
    told = UnitsMoved.of({f"{'layer.' * 40}{k}": 0.5 for k in range(1001)})
    assert (len(told.groups), max(map(len, told.groups))) == (1000, 200)
    decode_events(encode_events([told]))
    assert UnitsMoved.of({"head": 1.0}) == UnitsMoved({"head": 1.0})
