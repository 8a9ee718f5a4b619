"""A run's events, summed up per round."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Event = Mapping[str, Any]
STAGES = ("before_merge", "after_merge", "after_training")
PROBLEMS = ("failure", "late", "rejected")
_REPORTS = ("evaluation", "training", "merge")


def summarize_rounds(events: Iterable[Event], round_bytes: Mapping[int, int]) -> list[dict[str, Any]]:
    """Return one dict per round that left a trace, in order.

    Args:
        events: dicts with ``event`` and, as far as known, ``round``, ``peer`` and the values of their kind;
            events without a round are left out, accuracies that are missing or no finite numbers count as
            not reported.
        round_bytes: bytes sent over all edges, by round.

    Returns:
        Dicts of ``round``; ``accuracy_<stage>`` and ``local_accuracy_<stage>`` for each of ``STAGES``: mean over the
        peers that reported it, in percent, and ``..._spread``: their standard deviation (None where nobody did);
        ``peers``: how many evaluated, trained or merged; ``failures``, ``late``, ``rejected``: how many;
        ``bytes``: sent over all edges.
    """
    by_round: defaultdict[int, list[Event]] = defaultdict(list)
    for event in events:
        if event.get("round") is not None:
            by_round[event["round"]].append(event)
    return [
        _summarize_round(number, by_round.get(number, []), round_bytes.get(number, 0))
        for number in sorted(by_round.keys() | round_bytes.keys())
    ]


def final_accuracy(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the run reached: the accuracy of the last round that has any.

    Within that round the figure right after the merge is preferred, the one the DIMAT paper reports, then the one
    after training.

    Returns:
        ``final_accuracy`` (percent), ``final_accuracy_spread``, ``final_stage``, ``final_round``; all None without any.
    """
    for entry in reversed(rounds):
        for stage in ("after_merge", "after_training", "before_merge"):
            if entry[f"accuracy_{stage}"] is not None:
                return {
                    "final_accuracy": entry[f"accuracy_{stage}"],
                    "final_accuracy_spread": entry[f"accuracy_{stage}_spread"],
                    "final_stage": stage,
                    "final_round": entry["round"],
                }
    return dict.fromkeys(("final_accuracy", "final_accuracy_spread", "final_stage", "final_round"))


def _summarize_round(number: int, events: list[Event], sent: int) -> dict[str, Any]:
    summary: dict[str, Any] = {"round": number}
    for measure in ("accuracy", "local_accuracy"):
        for stage in STAGES:
            by_peer = {  # a peer that was asked twice counts once, with its last answer
                event.get("peer"): event[measure]
                for event in events
                if event.get("event") == "evaluation"
                and event.get("stage") == stage
                and isinstance(event.get(measure), int | float)
                and math.isfinite(event[measure])
            }
            values = list(by_peer.values())
            summary[f"{measure}_{stage}"] = float(np.mean(values)) if values else None
            summary[f"{measure}_{stage}_spread"] = float(np.std(values)) if values else None
    summary["peers"] = len({event.get("peer") for event in events if event.get("event") in _REPORTS})
    for kind, key in zip(PROBLEMS, ("failures", "late", "rejected"), strict=True):
        summary[key] = sum(event.get("event") == kind for event in events)
    summary["bytes"] = sent
    return summary
