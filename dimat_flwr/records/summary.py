"""The summary of a run: what it was, how it went per round, and what it came to."""

import json
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import dimat_flwr
from dimat_flwr.records.errors import RecordsError
from dimat_flwr.records.plain import plain
from dimat_flwr.records.rounds import PROBLEMS, Event, final_accuracy, summarize_rounds

SUMMARY_FILE = "summary.json"
_STATUSES = ("running", "completed", "failed")
_KNOWN_FACTS = ("algorithm", "topology", "dataset", "seed", "peers", "spectral_gap", "edges")


def summarize(
    facts: Mapping[str, Any],
    events: Iterable[Event],
    round_bytes: Mapping[int, int],
    *,
    command: str | None,
    wall_seconds: float,
) -> dict[str, Any]:
    """Return a run's summary.

    Args:
        facts: what the caller knows of the run: ``status`` (``running``, ``completed`` or ``failed``), with
            ``failed`` its ``reason``; ``algorithm``, ``topology``, ``dataset``, ``seed``, ``peers`` (how many),
            ``spectral_gap`` and ``edges`` (``[source, target, weight]`` each), None where missing;
            and more, kept as is.
        events: the run's events, see ``summarize_rounds``.
        round_bytes: bytes sent over all edges, by round.
        command: the command that started the run.
        wall_seconds: how long it took so far.

    Returns:
        The facts and ``command``, ``wall_seconds``, ``bytes_total``, ``final_accuracy`` and its company (see
        ``final_accuracy``), ``versions``, ``rounds`` (see ``summarize_rounds``) and ``problems`` (all events of
        failures, late and rejected models).

    Raises:
        RecordsError: status or reason are not as above, or a fact has the name of something computed here.
    """
    status, reason = facts.get("status"), facts.get("reason")
    if status not in _STATUSES:
        raise RecordsError(f"a summary needs a status, one of {', '.join(_STATUSES)}, not {status!r}")
    if (status == "failed") != bool(reason):
        raise RecordsError(
            f"a summary has a reason if and only if its status is failed, but has {status=} and {reason=}"
        )
    events = list(events)
    rounds = summarize_rounds(events, round_bytes)
    computed = {
        "command": command,
        "wall_seconds": round(wall_seconds, 3),
        "bytes_total": sum(round_bytes.values()),
        **final_accuracy(rounds),
        "versions": _versions(),
        "rounds": rounds,
        "problems": [event for event in events if event.get("event") in PROBLEMS],
    }
    clash = sorted(computed.keys() & facts.keys())
    if clash:
        raise RecordsError(f"these facts have the names of computed figures: {', '.join(clash)}; rename them")
    known = {"status": status, "reason": reason, **dict.fromkeys(_KNOWN_FACTS)}
    summary: dict[str, Any] = plain({**known, **facts, **computed}, "summary")
    return summary


def load_summary(folder: Path) -> dict[str, Any]:
    """Return the summary in a run's folder.

    Raises:
        RecordsError: there is none, or it is not one.
    """
    path = folder / SUMMARY_FILE
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordsError(
            f"cannot read {path}: {error}; give the folder of a run, as printed when it ended"
        ) from error
    if not isinstance(summary, dict) or "rounds" not in summary or "status" not in summary:
        raise RecordsError(f"{path} is not the summary of a run; give the folder of a run, as printed when it ended")
    return summary


def _versions() -> dict[str, str | None]:
    """Return the versions that results may depend on, without importing torch."""
    versions: dict[str, str | None] = {"python": platform.python_version(), "dimat_flwr": dimat_flwr.__version__}
    for package in ("flwr", "torch", "torchvision", "numpy"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions
