"""The summary of a run: what it was, how it went per round, and what it came to."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import dimat_flwr
from dimat_flwr.records.errors import RecordsError
from dimat_flwr.records.jsonable import jsonable
from dimat_flwr.records.totals import Totals

SUMMARY_FILE = "summary.json"
Status = Literal["running", "completed", "incomplete", "failed", "interrupted"]
SILENT_SECONDS = 60.0  # without a heartbeat for so long, a run that says "running" was cut off

_KNOWN_FACTS = ("algorithm", "topology", "dataset", "seed", "peers", "spectral_gap", "edges")
# Where a run stands, as its writer knows it: when it began and last gave a sign of life, who writes it, since when it
# trains, which groups of survivors no longer reach each other, which peers used up their share of the record (and how
# many events of theirs are missing), how many lines of its files could not be read back.
_STATE: dict[str, Any] = {
    "status": "running",
    "reason": None,
    "started": None,
    "heartbeat": None,
    "writer": None,
    "command": None,
    "wall_seconds": None,
    "first_training_seconds": None,
    "parts": None,
    "muted": {},
    "unread_lines": None,
}


def summarize(facts: Mapping[str, Any], totals: Totals, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's summary.

    Args:
        facts: what the run is: ``algorithm``, ``topology``, ``dataset``, ``seed``, ``peers`` (how many),
            ``spectral_gap``, ``contraction`` (see ``relay.Plan.mixes``), ``edges`` (``[source, reader, weight]``
            each), None where missing; and more, kept.
        totals: what has happened.
        state: where the run stands: those of the keys of ``_STATE`` that are known.

    Returns:
        State and facts; ``bytes_total``; ``instrument_bytes_total``: sent besides, for instruments; ``last_observed``:
        the last that each instrument found, and in which round; ``lost_peers``: peer (a text, as JSON has it) -> round
        in which it failed, if nobody has come into its place; ``vacant``: places in which nobody has been; ``joined``:
        place -> round in which the last newcomer came into it;
        ``final_accuracy`` and its company (see ``Totals.final``), ``final_peers``: how many saved models that is
        the mean of, and how many places are or were taken; ``privacy``: see ``Totals.privacy``;
        ``last_accuracy``: the last that was reported while the run went, with its
        spread, stage, round and of how many peers it is the mean, None without any; ``versions``;
        ``rounds`` (see ``Totals.rounds``);
        ``problems``: failures, late peers and rejected payloads, at most some hundreds, of ``problems_total``.

    Raises:
        RecordsError: a fact has the name of something computed here.
    """
    rounds, final, (problems, problems_total) = totals.rounds(), totals.final(), totals.problems()
    reported = final.pop("final_reported")
    computed = {
        "final_accuracy": final.pop("final_accuracy"),
        "final_accuracy_spread": final.pop("final_accuracy_spread"),
        "final_peers": {"reported": reported, "of": _taken(facts.get("peers"), totals)},
        "last_accuracy": last_accuracy(rounds, totals),
        "privacy": totals.privacy(),
        "lost_peers": {str(peer): when for peer, when in sorted(totals.lost_peers.items())},
        "vacant": sorted(totals.vacant),
        "joined": {str(peer): when for peer, when in sorted(totals.joined.items())},
        "last_observed": last_observed(rounds),
        "bytes_total": totals.bytes_total,
        "instrument_bytes_total": totals.instrument_bytes_total,
        "versions": versions(),
        "final": final.pop("final"),
        "rounds": rounds,
        "problems_total": problems_total,
        "problems": problems,
    }
    clash = sorted((computed.keys() | _STATE.keys()) & facts.keys())
    if clash:
        raise RecordsError(f"these facts have the names of computed figures: {', '.join(clash)}; rename them")
    known = jsonable({**dict.fromkeys(_KNOWN_FACTS), **facts}, "summary")
    return {**_STATE, **state, **known, **computed}


def split_summary(summary: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the facts and the state that ``summarize`` was given for this summary."""
    computed = summarize({}, Totals(), {}).keys() - set(_KNOWN_FACTS)
    facts = {key: value for key, value in summary.items() if key not in computed}
    return facts, {key: summary[key] for key in _STATE if key in summary}


def _taken(places: int | None, totals: Totals) -> int | None:
    """Return in how many places a peer is, or was when it was lost."""
    return None if places is None else places - len(totals.vacant)


def last_accuracy(rounds: Sequence[Mapping[str, Any]], totals: Totals) -> dict[str, Any] | None:
    """Return the accuracy of the last round that has any, preferably after its merge: the figure of a run under way."""
    for number, entry in zip(reversed(range(len(rounds))), reversed(rounds), strict=True):
        for stage in ("after_merge", "after_training"):
            if entry[f"accuracy_{stage}"] is not None:
                return {
                    "accuracy": entry[f"accuracy_{stage}"],
                    "spread": entry[f"accuracy_{stage}_spread"],
                    "stage": stage,
                    "round": entry["round"],
                    "peers": int(totals.reported(f"accuracy_{stage}")[number]),
                }
    return None


def last_observed(rounds: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return figure -> the last that an instrument found (``round``, ``value``, ``spread`` where there is one)."""
    found: dict[str, dict[str, Any]] = {}
    for entry in rounds:
        observed = entry["observed"]
        for figure in observed:
            if not figure.endswith(("_spread", "_peers")):
                found[figure] = {"round": entry["round"], "value": observed[figure]}
                if f"{figure}_spread" in observed:
                    found[figure]["spread"] = observed[f"{figure}_spread"]
    return found


def encode_summary(summary: Mapping[str, Any]) -> bytes:
    """Return a summary as JSON: one key a line, and of long lists one entry a line, to be read and compared."""
    return "{{\n{}\n}}\n".format(
        ",\n".join(f"  {json.dumps(key)}: {_text(value)}" for key, value in summary.items())
    ).encode()


def _text(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return "[\n{}\n  ]".format(",\n".join(f"    {_text(item) if not item else _line(item)}" for item in value))
    return _line(value)


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def load_summary(folder: Path, now: datetime | None = None) -> dict[str, Any]:
    """Return the summary in a run's folder; a run that says it is running but has been silent for long was interrupted.

    Args:
        folder: the run's folder.
        now: the time to compare its heartbeat with, by default this moment.

    Raises:
        RecordsError: there is none, or it is not one.
    """
    path = folder / SUMMARY_FILE
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise RecordsError(f"cannot read {path}: {why}; give the folder of a run, as printed when it ended") from error
    if not isinstance(summary, dict) or not {"rounds", "status", "heartbeat"} <= summary.keys():
        raise RecordsError(f"{path} is not the summary of a run; give the folder of a run, as printed when it ended")
    if summary["status"] == "running":
        silent = (now or datetime.now(UTC)) - _time(summary["heartbeat"], path)
        lives = _lives(summary.get("writer"))
        # In one process a peer's long exchange keeps the relay silent; where the writer can be seen, that decides.
        if lives is False or (lives is None and silent.total_seconds() > SILENT_SECONDS):
            summary["status"] = "interrupted"
            summary["reason"] = f"no sign of life since {summary['heartbeat']}: it was stopped or killed"
    return summary


def writer() -> dict[str, Any]:
    """Return which process writes the summary: its machine, its number, and where Linux tells it, when it began."""
    known = _seen(os.getpid())
    return {"host": platform.node(), "process": os.getpid(), "began": known[1] if known else None}


def _lives(found: Any) -> bool | None:
    """Whether the process that wrote a summary is still there; None where that cannot be seen from here."""
    match found:
        case {"host": str(host), "process": int(process)} if host == platform.node() and process > 0:
            try:
                os.kill(process, 0)
            except ProcessLookupError:
                return False
            except PermissionError:
                pass
            known = _seen(process)
            if known is None:
                return True
            state, began = known
            # A SuperLink does not bury the simulations it started, and another process may have got the number since.
            return state not in "ZX" and found.get("began") in (None, began)
    return None


def _seen(process: int) -> tuple[str, int] | None:
    """Return a process's state (Z: ended, not yet buried) and the clock tick it began in; None without a ``/proc``."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def _time(text: Any, path: Path) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise RecordsError(f"{path} has no readable heartbeat: {error}") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@cache
def versions() -> dict[str, str | None]:
    """Return the versions that results may depend on, without importing torch."""
    found: dict[str, str | None] = {"python": platform.python_version(), "dimat_flwr": dimat_flwr.__version__}
    for package in ("flwr", "torch", "torchvision", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found
