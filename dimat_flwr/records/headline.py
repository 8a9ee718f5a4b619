"""What a run came to, in one line: used by the report, the plots and the comparison of runs."""

from collections.abc import Mapping
from typing import Any


def final_line(summary: Mapping[str, Any]) -> str:
    """Return the accuracy a run ended with and what that is the mean of, or how far it has come; and its privacy."""
    return _accuracy_line(summary) + _privacy(summary)


def _privacy(summary: Mapping[str, Any]) -> str:
    told = summary.get("privacy")  # a run of an older version has none
    if told is None:
        return ""
    found = "unbounded" if told["epsilon"] is None else f"at most {told['epsilon']:.2f}"
    return f"; epsilon {found} at delta {told['delta']:g}"


def _accuracy_line(summary: Mapping[str, Any]) -> str:
    if summary["final_accuracy"] is not None:
        return f"final accuracy {percent(summary)}: mean over the saved models of {peers_reported(summary)}"
    last = summary["last_accuracy"]
    if last is None:
        return "no accuracy was reported"
    stage = last["stage"].replace("_", " ")
    where = f"{last['accuracy']:.2f} ± {last['spread']:.2f} % {stage} in round {last['round']}"
    if summary["peers"] is not None:
        where += f", mean over {last['peers']} of {summary['peers']} peers"
    return (
        f"no saved model was reported; last accuracy {where}" if summary["status"] != "running" else f"so far {where}"
    )


def percent(summary: Mapping[str, Any]) -> str:
    """Return the final accuracy and its spread, or a dash."""
    if summary["final_accuracy"] is None:
        return "–"
    return f"{summary['final_accuracy']:.2f} ± {summary['final_accuracy_spread']:.2f} %"


def peers_reported(summary: Mapping[str, Any]) -> str:
    """Return of how many peers the final accuracy is the mean."""
    reported, of = summary["final_peers"]["reported"], summary["final_peers"]["of"]
    return f"{reported} of {of} peers" if of is not None else f"{reported} peer{'s' if reported != 1 else ''}"


def readable_bytes(count: float) -> str:
    """Return a byte count with a decimal unit, such as ``1.5 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def readable_time(seconds: float | None) -> str:
    """Return a duration as ``m:ss`` or ``h:mm:ss``, or a dash."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
