"""Means, spreads, counts and losses against figures worked out by hand, and that nothing is worked out twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimat_flwr.events import (
    Absent,
    Consensus,
    Counterfactual,
    Evaluation,
    Failure,
    Final,
    GradientNorm,
    Joined,
    Late,
    Merge,
    Note,
    Privacy,
    Rejected,
    Stamped,
    Training,
    UnitsMoved,
)
from dimat_flwr.records.summary import last_accuracy, summarize
from dimat_flwr.records.totals import COLUMNS, Totals


def totals_of(events, sent=()):
    totals = Totals()
    for peer, number, event in events:
        totals.add(Stamped(event, number, peer, "merge"))
    for number, count in sent:
        totals.add_bytes(number, count)
    return totals


def test_one_round_by_hand():
    (entry,) = totals_of(
        [
            (0, 3, Evaluation("after_merge", 80.0, 99.0, 0.5)),
            (1, 3, Evaluation("after_merge", 90.0)),
            (0, 3, Evaluation("after_training", 95.0)),
            (2, 3, Training(0.1, 10, 1, 0.5)),
            (0, 3, Training(0.3, 10, 1, 0.5)),
            (5, 3, Merge([0], [0.5, 0.5], 0.1)),
            (3, 3, Failure("x")),
            (4, 3, Late(0)),
            (0, 3, Rejected(4, "NaN")),
            (1, 3, Rejected(4, "NaN")),
            (9, 3, Note("anything", {"a": 1})),
            (3, 3, Absent(1, "failed")),
        ],
        [(3, 600), (3, 400)],
    ).rounds()
    expected = dict.fromkeys([key for column in COLUMNS for key in (column, f"{column}_spread")])
    assert entry == expected | {
        "round": 3,
        "accuracy_after_merge": 85.0,
        "accuracy_after_merge_spread": 5.0,
        "accuracy_after_training": 95.0,
        "accuracy_after_training_spread": 0.0,
        "local_accuracy_after_merge": 99.0,
        "local_accuracy_after_merge_spread": 0.0,
        "loss_after_merge": 0.5,
        "loss_after_merge_spread": 0.0,
        "loss": pytest.approx(0.2),
        "loss_spread": pytest.approx(0.1),
        "peers": 4,
        "lost": 1,
        "failures": 1,
        "late": 1,
        "rejected": 2,
        "bytes": 1000,
        "instrument_bytes": 0,
        "units_moved": None,
        "observed": {},
    }


def test_what_instruments_observed_by_hand():
    totals = totals_of(
        [
            (0, 2, Counterfactual(80.0, 70.0, 0.5, 3)),
            (1, 2, Counterfactual(90.0, None, None, 3)),
            (0, 2, Consensus("after_merge", 1.5, 3)),
            (0, 1, Consensus("after_training", 2.5, 3)),
            (0, 2, GradientNorm(0.25, 3)),
            (0, 2, UnitsMoved({"a": 0.5, "b": 1.0})),
            (1, 2, UnitsMoved({"a": 0.0, "b": 1.0})),
        ]
    )
    totals.add_bytes(2, 300, "observe.models")
    totals.add_bytes(2, 50, "merge")
    before, entry = totals.rounds()
    assert before["observed"] == {"consensus_distance_after_training": 2.5}
    assert entry["observed"] == {
        "counterfactual_accuracy": 85.0, "counterfactual_accuracy_spread": 5.0, "counterfactual_accuracy_peers": 2,
        "counterfactual_local_accuracy": 70.0, "counterfactual_local_accuracy_spread": 0.0,
        "counterfactual_local_accuracy_peers": 1, "counterfactual_loss": 0.5, "counterfactual_loss_spread": 0.0,
        "counterfactual_loss_peers": 1, "consensus_distance_after_merge": 1.5, "gradient_norm": 0.25,
        "units_moved": {"a": 0.25, "b": 1.0},
    }  # fmt: skip
    assert (entry["bytes"], entry["instrument_bytes"], entry["peers"]) == (50, 300, 0)
    summary = summarize({}, totals, {})
    assert (summary["bytes_total"], summary["instrument_bytes_total"]) == (50, 300)
    assert summary["last_observed"]["consensus_distance_after_training"] == {"round": 1, "value": 2.5}
    assert summary["last_observed"]["counterfactual_accuracy"] == {"round": 2, "value": 85.0, "spread": 5.0}


def test_a_network_of_endless_groups_fills_no_memory():
    totals = totals_of([(p, 1, UnitsMoved({f"{p}.{k}": 0.5 for k in range(400)})) for p in range(10)])
    assert len(totals.rounds()[0]["observed"]["units_moved"]) == 500


def test_a_peer_that_says_it_twice_counts_once_with_its_last_answer():
    twice = [(0, 1, Evaluation("after_merge", value)) for value in (10.0, 30.0)]
    (entry,) = totals_of([*twice, (1, 1, Evaluation("after_merge", 50.0))]).rounds()
    assert (entry["accuracy_after_merge"], entry["peers"]) == (40.0, 2)


def test_a_figure_that_is_missing_is_not_a_zero():
    (entry,) = totals_of(
        [(0, 1, Evaluation("after_merge", 60.0)), (1, 1, Evaluation("after_merge", None, None, float("nan")))]
    ).rounds()
    assert (entry["accuracy_after_merge"], entry["loss_after_merge"], entry["peers"]) == (60.0, None, 2)


@settings(max_examples=40)
@given(
    accuracies=st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, 6)), st.floats(0, 100)),
    sent=st.dictionaries(st.integers(0, 4), st.integers(0, 10**9)),
    order=st.randoms(),
)
def test_any_order_of_arrival_gives_numpys_mean_and_std(accuracies, sent, order):
    events = [(peer, r, Evaluation("after_merge", value)) for (r, peer), value in accuracies.items()]
    order.shuffle(events)
    totals = totals_of(events, sent.items())
    assert [entry["round"] for entry in totals.rounds()] == sorted({r for r, _ in accuracies} | set(sent))
    assert totals.bytes_total == sum(sent.values())
    for entry in totals.rounds():
        values = [value for (r, _), value in accuracies.items() if r == entry["round"]]
        assert entry["peers"] == len(values)
        assert entry["bytes"] == sent.get(entry["round"], 0)
        assert entry["accuracy_after_merge"] == (pytest.approx(np.mean(values)) if values else None)
        assert entry["accuracy_after_merge_spread"] == (pytest.approx(np.std(values)) if values else None)


def test_a_figure_is_worked_out_once_and_again_only_when_it_changed(monkeypatch):
    totals = totals_of([(peer, r, Evaluation("after_merge", 50.0)) for r in range(1, 51) for peer in range(3)])
    worked_out = []
    isnan = np.isnan
    monkeypatch.setattr(np, "isnan", lambda values: worked_out.append(1) or isnan(values))
    totals.rounds()
    assert len(worked_out) == 50
    totals.add(Stamped(Evaluation("after_merge", 80.0), 50, 0, "merge"))
    rounds = totals.rounds()
    assert len(worked_out) == 51  # not all rounds again, as it once was
    assert rounds[-1]["accuracy_after_merge"] == 60.0


def test_the_final_accuracy_is_that_of_the_saved_models_and_not_of_the_last_merge():
    totals = totals_of(
        [
            (0, 5, Evaluation("after_merge", 99.0)),
            (1, 5, Evaluation("after_merge", 98.0)),
            (0, 5, Final(93.0, 90.0, 0.5, "models/peer-0.safetensors", "0f" * 32, 100)),
            (1, 5, Final(91.0)),
        ]
    )
    summary = summarize({"peers": 3}, totals, {})
    assert (summary["final_accuracy"], summary["final_accuracy_spread"]) == (92.0, 1.0)
    assert summary["final_peers"] == {"reported": 2, "of": 3}
    assert summary["final"][0] == {
        "peer": 0, "accuracy": 93.0, "local_accuracy": 90.0, "loss": 0.5,
        "file": "models/peer-0.safetensors", "sha256": "0f" * 32, "bytes": 100,
    }  # fmt: skip


def test_a_lost_peers_last_words_are_not_part_of_the_final_figure():
    totals = totals_of([(0, 5, Final(90.0)), (1, 5, Final(100.0)), (1, 5, Failure("gone"))])
    summary = summarize({"peers": 2}, totals, {})
    assert (summary["final_accuracy"], summary["final_peers"]) == (90.0, {"reported": 1, "of": 2})
    assert summary["lost_peers"] == {"1": 5}


def test_without_saved_models_there_is_no_final_accuracy_but_a_last_one():
    totals = totals_of(
        [
            (0, 1, Evaluation("after_merge", 99.0)),
            (0, 2, Evaluation("after_training", 80.0)),
            (0, 3, Failure("gone")),
        ]
    )
    summary = summarize({}, totals, {})
    assert summary["final_accuracy"] is None
    assert summary["last_accuracy"] == {
        "accuracy": 80.0, "spread": 0.0, "stage": "after_training", "round": 2, "peers": 1,
    }  # fmt: skip
    assert last_accuracy([], Totals()) is None


def test_peers_that_were_lost_stay_counted_in_every_round_after():
    events = [(peer, r, Training(0.1, 1, 1, 0.1)) for r in range(4) for peer in range(3) if not (peer == 2 and r > 1)]
    rounds = totals_of([*events, (2, 2, Failure("gone"))]).rounds()
    assert [(entry["peers"], entry["lost"], entry["failures"]) for entry in rounds] == [
        (3, 0, 0), (3, 0, 0), (2, 1, 1), (2, 1, 0),
    ]  # fmt: skip


def test_a_peer_in_whose_place_another_came_was_lost_in_the_rounds_between():
    events = [(peer, number, Training(1.0, 1, 1, 0.1)) for number in range(8) for peer in range(2)]
    events += [(1, 2, Failure("broken")), (1, 4, Joined()), (1, 5, Joined()), (1, 7, Failure("broken again"))]
    totals = totals_of(events)
    assert [entry["lost"] for entry in totals.rounds()] == [0, 0, 1, 1, 1, 0, 0, 1]
    assert totals.lost_peers == {1: 7}


def test_what_a_lost_device_told_of_its_samples_stays_told():
    told = [(0, 1, Privacy(2.0, 1e-5, 10)), (1, 1, Privacy(5.0, 1e-5, 30)), (1, 2, Failure("broken"))]
    another = [(1, 4, Joined()), (1, 4, Privacy(1.0, 1e-5, 4))]
    assert totals_of(told + another).privacy() == {"epsilon": 5.0, "delta": 1e-5, "peers": 2}
    the_same = [(1, 4, Joined()), (1, 4, Privacy(6.0, 1e-5, 34))]
    assert totals_of(told + the_same).privacy() == {"epsilon": 6.0, "delta": 1e-5, "peers": 2}


def test_problems_are_limited_failures_first_and_long_errors_keep_their_end():
    late = [(0, 1, Late(1))] * 1000
    problems, count = totals_of([*late, (7, 2, Failure("x" * 20_000 + "the end"))]).problems()
    assert count == 1001
    assert len(problems) == 300
    assert problems[-1]["event"] == "failure"
    assert len(problems[-1]["error"]) < 2000
    assert problems[-1]["error"].endswith("the end")
