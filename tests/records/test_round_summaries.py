"""Means, spreads and counts per round against figures worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimat_flwr.records.rounds import final_accuracy, summarize_rounds


def evaluation(peer, number, stage, **values):
    return {"event": "evaluation", "peer": peer, "round": number, "stage": stage, **values}


def test_one_round_by_hand():
    events = [
        evaluation(0, 3, "before_merge", accuracy=80.0, local_accuracy=99.0),
        evaluation(1, 3, "before_merge", accuracy=90.0),
        evaluation(0, 3, "after_merge", accuracy=95.0),
        {"event": "training", "peer": 2, "round": 3, "loss": 0.1},
        {"event": "failure", "peer": 3, "round": 3, "phase": 0, "error": "x"},
        {"event": "late", "peer": 4, "round": 3},
        {"event": "rejected", "peer": 0, "round": 3, "from": 4, "reason": "NaN"},
        {"event": "rejected", "peer": 1, "round": 3, "from": 4, "reason": "NaN"},
        {"event": "new kind", "peer": 9, "round": 3},
    ]
    (entry,) = summarize_rounds(events, {3: 1000})
    assert entry == {
        "round": 3,
        "accuracy_before_merge": 85.0,
        "accuracy_before_merge_spread": 5.0,
        "accuracy_after_merge": 95.0,
        "accuracy_after_merge_spread": 0.0,
        "accuracy_after_training": None,
        "accuracy_after_training_spread": None,
        "local_accuracy_before_merge": 99.0,
        "local_accuracy_before_merge_spread": 0.0,
        "local_accuracy_after_merge": None,
        "local_accuracy_after_merge_spread": None,
        "local_accuracy_after_training": None,
        "local_accuracy_after_training_spread": None,
        "peers": 3,
        "failures": 1,
        "late": 1,
        "rejected": 2,
        "bytes": 1000,
    }


def test_a_peer_asked_twice_counts_once_with_its_last_answer():
    events = [evaluation(0, 1, "after_merge", accuracy=a) for a in (10.0, 30.0)]
    (entry,) = summarize_rounds([*events, evaluation(1, 1, "after_merge", accuracy=50.0)], {})
    assert (entry["accuracy_after_merge"], entry["peers"]) == (40.0, 2)


@pytest.mark.parametrize("missing", [{}, {"accuracy": None}, {"accuracy": float("nan")}, {"accuracy": "97"}])
def test_an_accuracy_that_is_missing_is_not_a_zero(missing):
    events = [evaluation(0, 1, "after_merge", accuracy=60.0), evaluation(1, 1, "after_merge", **missing)]
    (entry,) = summarize_rounds(events, {})
    assert (entry["accuracy_after_merge"], entry["peers"]) == (60.0, 2)


def test_events_without_round_stage_or_peer_do_not_break_it():
    entries = summarize_rounds([{"event": "failure"}, {"event": "evaluation", "round": 1}, {"round": 2}, {}], {})
    assert [(entry["round"], entry["failures"]) for entry in entries] == [(1, 0), (2, 0)]


@settings(max_examples=40, deadline=None)
@given(
    accuracies=st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, 6)), st.floats(0, 100)),
    sent=st.dictionaries(st.integers(0, 4), st.integers(0, 10**9)),
    order=st.randoms(),
)
def test_any_order_of_arrival_gives_numpys_mean_and_std(accuracies, sent, order):
    events = [evaluation(peer, r, "after_merge", accuracy=a) for (r, peer), a in accuracies.items()]
    order.shuffle(events)
    entries = summarize_rounds(events, sent)
    assert [e["round"] for e in entries] == sorted({r for r, _ in accuracies} | set(sent))
    for entry in entries:
        values = [a for (r, _), a in accuracies.items() if r == entry["round"]]
        assert entry["peers"] == len(values)
        assert entry["bytes"] == sent.get(entry["round"], 0)
        if values:
            assert entry["accuracy_after_merge"] == pytest.approx(np.mean(values))
            assert entry["accuracy_after_merge_spread"] == pytest.approx(np.std(values))
        else:
            assert entry["accuracy_after_merge"] is None


def test_the_final_accuracy_is_the_last_rounds_and_prefers_the_merged_model():
    events = [
        evaluation(0, 1, "after_merge", accuracy=99.0),
        evaluation(0, 2, "before_merge", accuracy=70.0),
        evaluation(0, 2, "after_training", accuracy=80.0),
        {"event": "failure", "round": 3},
    ]
    assert final_accuracy(summarize_rounds(events, {})) == {
        "final_accuracy": 80.0, "final_accuracy_spread": 0.0, "final_stage": "after_training", "final_round": 2,
    }  # fmt: skip
    merged = [*events, evaluation(0, 2, "after_merge", accuracy=75.0)]
    assert final_accuracy(summarize_rounds(merged, {}))["final_accuracy"] == 75.0
    assert final_accuracy(summarize_rounds(events[1:2], {}))["final_stage"] == "before_merge"


@pytest.mark.parametrize("events", [[], [{"event": "failure", "peer": 0, "round": 1}]])
def test_without_any_accuracy_there_is_no_final_one(events):
    assert set(final_accuracy(summarize_rounds(events, {})).values()) == {None}
