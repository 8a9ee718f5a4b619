import pytest
from flwr.app import ConfigRecord
from hypothesis import given
from hypothesis import strategies as st

from dimat_flwr.wire.instruction import Instruction, InstructionError, read_instruction
from dimat_flwr.wire.report import Report, ReportError, encode_events, read_report

_values = st.one_of(
    st.integers(-5, 5), st.text(max_size=5), st.floats(), st.booleans(), st.lists(st.integers(), max_size=3)
)


def test_an_instruction_survives_the_wire() -> None:
    sent = Instruction(
        peer=3, peers=5, run_name="r", simulation=True, round_number=2, phase="merge", exchange=True,
        sources=[2, 4], source_weights=[0.25, 0.25], own_weight=0.5, readers=[2, 4],
    )  # fmt: skip
    assert read_instruction(sent.to_record()) == sent


def test_weights_must_match_sources() -> None:
    record = Instruction(peer=0, peers=2, run_name="r", simulation=True, sources=[1]).to_record()
    with pytest.raises(InstructionError, match="1 sources but 0 weights"):
        read_instruction(record)


@given(st.dictionaries(st.sampled_from(["peer", "peers", "sources", "phase", "odd"]), _values))
def test_malformed_instructions_are_refused_by_name(fields: dict[str, object]) -> None:
    try:
        read = read_instruction(ConfigRecord(fields))  # type: ignore[arg-type]
    except InstructionError:
        return
    assert read.peer >= -1


def test_events_survive_and_non_finite_numbers_become_null() -> None:
    events = [{"event": "training", "loss": float("nan"), "weights": [0.5, float("inf")], "round": 1}]
    _, received = read_report(Report(events=encode_events(events)).to_record())
    assert received == [{"event": "training", "loss": None, "weights": [0.5, None], "round": 1}]


@given(st.lists(st.one_of(st.text(max_size=20), st.just('{"event": 3}'), st.just("[1]")), min_size=1, max_size=3))
def test_malformed_events_are_refused(texts: list[str]) -> None:
    try:
        _, events = read_report(ConfigRecord({"events": texts}))
    except ReportError:
        return
    assert all(isinstance(event["event"], str) for event in events)


def test_a_reply_without_a_report_is_refused() -> None:
    with pytest.raises(ReportError, match="holds no report"):
        read_report(None)
