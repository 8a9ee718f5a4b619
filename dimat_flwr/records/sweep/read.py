"""A sweep's folder: sweep.json, which lists its cells, and a run's folder for every cell that was begun."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dimat_flwr.records.errors import RecordsError
from dimat_flwr.records.replay import whole_lines
from dimat_flwr.records.summary import SUMMARY_FILE, load_summary
from dimat_flwr.records.timeline import TIMELINE_FILE, read_timeline

SWEEP_FILE = "sweep.json"
SEED = "seed"  # the axis over which cells are averaged
STATUSES = ("completed", "failed", "pending", "running")
_FACTS = ("seconds", "memory_bytes", "gpu_bytes")  # that sweep.json has of a cell
_LOSS = "final_loss"  # the mean of the peers' in a run's summary
# What ``Cell.measured`` finds something under; the others are figures of a run's summary.
METRICS = (
    *("final_accuracy", "final_accuracy_spread", _LOSS, "bytes_total", "instrument_bytes_total", "wall_seconds"),
    *("first_training_seconds", "spectral_gap", "contraction", "problems_total", *_FACTS),
)

Scalar = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a sweep.

    Attributes:
        folder: of the run, below the sweep's.
        values: key -> value, of all that the sweep varies and fixes.
        status: one of ``STATUSES``, or ``incomplete``, ``interrupted`` and the like where the run's own record says so;
            ``missing`` or ``unreadable`` where a completed run's record is no more.
        reason: why it failed.
        facts: what sweep.json says of it besides, such as ``seconds``, ``memory_bytes`` and ``gpu_bytes``.
        summary: of its run; None while there is none to read.
        times: round -> seconds until its last peer was done with it; empty where the run has no timeline.
    """

    folder: str
    values: Mapping[str, Scalar]
    status: str
    reason: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] | None = None
    times: Mapping[int, float] = field(default_factory=dict)

    def measured(self, metric: str) -> float | None:
        """Return a figure of a completed cell, from sweep.json or its run's summary; None where there is none."""
        if self.status != "completed" or self.summary is None:
            return None
        found = self.facts.get(metric)
        found = self.summary.get(metric) if found is None else found
        if metric == _LOSS:
            losses = [final["loss"] for final in self.summary["final"] if final["loss"] is not None]
            found = float(np.mean(losses)) if losses else None
        return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


@dataclass(frozen=True, kw_only=True)
class PaperValue:
    """What a paper says of the cells that have these values.

    Attributes:
        values: key -> value; a cell matches that has all of them.
        source: where in which paper.
        metric: which figure it is; empty for a note.
        value: the figure; None for a note.
        std: its standard deviation, where the paper says one.
        text: of a note.
    """

    values: Mapping[str, Scalar]
    source: str
    metric: str = ""
    value: float | None = None
    std: float | None = None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep as it stands.

    Attributes:
        name: of the sweep.
        scale: such as ``small``.
        title: one line that says what is shown; may be empty.
        command: what makes it.
        axes: key -> its values, of what is varied.
        fixed: key -> value, of what is the same for all cells.
        cells: all that are planned.
        paper: what a paper says.
    """

    name: str
    scale: str
    title: str
    command: str
    axes: Mapping[str, list[Scalar]]
    fixed: Mapping[str, Scalar]
    cells: list[Cell]
    paper: list[PaperValue]


def is_sweep(folder: Path) -> bool:
    """Whether a folder is that of a sweep."""
    return (folder / SWEEP_FILE).exists()


def read_sweep(folder: Path) -> Sweep:
    """Return the sweep in a folder, with the runs of those of its cells that there are.

    Raises:
        RecordsError: sweep.json cannot be read or says something else than a sweep.
    """
    path = folder / SWEEP_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        cells = [_cell(folder, entry) for entry in found["cells"]]
        paper = [_paper(entry) for entry in found.get("paper", [])]
        axes = {str(key): list(values) for key, values in found["axes"].items()}
        if astray := next((cell for cell in cells if not _is_of(cell, axes)), None):
            raise ValueError(f"the cell {astray.folder!r} has values that no axis has")
        return Sweep(
            name=str(found["name"]),
            scale=str(found.get("scale") or ""),
            title=str(found.get("title") or ""),
            command=str(found.get("command") or ""),
            axes=axes,
            fixed=dict(found.get("fixed", {})),
            cells=cells,
            paper=paper,
        )
    except OSError as error:
        raise RecordsError(f"cannot read {path}: {error.strerror}; give the folder of a sweep") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordsError(
            f"{path} is not what a sweep writes: {error!r}; run the sweep again to have it rewritten"
        ) from error


def _cell(folder: Path, entry: Mapping[str, Any]) -> Cell:
    where, status = PurePosixPath(entry["folder"]), entry["status"]
    if where.is_absolute() or ".." in where.parts or status not in STATUSES:
        raise ValueError(f"the cell {entry['folder']!r} lies elsewhere, or has the unknown status {status!r}")
    cell = Cell(
        folder=str(where),
        values=dict(entry["values"]),
        status=status,
        reason=entry.get("reason"),
        facts={key: entry.get(key) for key in _FACTS},
    )
    run = folder / where
    if status == "pending" or not (run / SUMMARY_FILE).exists():
        if status != "completed":
            return cell
        return replace(cell, status="missing", reason=f"there is no {where}/{SUMMARY_FILE}; run the sweep again")
    try:
        summary = load_summary(run)
    except RecordsError as error:
        return replace(cell, status="unreadable", reason=str(error))
    # A sweep that was killed says for ever that its cells run. And a run may have lost something: no cell like others.
    if status in ("completed", "running") and summary["status"] != status:
        if summary["status"] == "completed":
            return replace(cell, status="completed", summary=summary, times=_times(run, summary))
        return replace(cell, status=summary["status"], reason=summary.get("reason"), summary=summary)
    return replace(cell, summary=summary, times=_times(run, summary))


def _is_of(cell: Cell, axes: Mapping[str, list[Scalar]]) -> bool:
    return all(key in cell.values and cell.values[key] in values for key, values in axes.items())


def _times(run: Path, summary: Mapping[str, Any]) -> dict[int, float]:
    if not (run / TIMELINE_FILE).exists() or not summary.get("peers"):
        return {}
    timeline, _ = read_timeline(whole_lines(run / TIMELINE_FILE))
    rounds = [entry["round"] for entry in summary["rounds"]]
    told = timeline.told(rounds, summary["peers"])
    return {number: float(np.nanmax(row)) for number, row in zip(rounds, told, strict=True) if np.isfinite(row).any()}


def _paper(entry: Mapping[str, Any]) -> PaperValue:
    value, std = entry.get("value"), entry.get("std")
    return PaperValue(
        values=dict(entry["values"]),
        source=str(entry.get("source") or ""),
        metric=str(entry["metric"]) if value is not None else "",
        value=None if value is None else float(value),
        std=None if std is None else float(std),
        text=str(entry.get("text") or ""),
    )
