"""sweep.json: what a sweep is and where each of its cells stands; and that one process at a time works on it."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dimat_flwr.records.errors import RecordsError
from dimat_flwr.records.files import replace_file
from dimat_flwr.records.summary import load_summary
from dimat_flwr.sweeps.definition import Definition
from dimat_flwr.sweeps.errors import SweepError
from dimat_flwr.sweeps.grid import Cell, Grid

SWEEP_FILE, CELLS, LOCK = "sweep.json", "cells", "sweep.lock"

Status = Literal["pending", "running", "completed", "failed"]


@dataclass
class Standing:
    """A cell of a sweep, and how it stands.

    Attributes:
        cell: what it is.
        id: its identity; equal ones are one run, told in several places of the grid.
        status: where it stands.
        reason: of a failure.
        seconds: wall-clock time of its run.
        memory_bytes: the largest that its process was.
        gpu_bytes: the most that torch had allocated on the GPU.
    """

    cell: Cell
    id: str
    status: Status = "pending"
    reason: str | None = None
    seconds: float | None = None
    memory_bytes: int | None = None
    gpu_bytes: int | None = None


@dataclass
class Record:
    """What sweep.json says.

    Attributes:
        folder: the sweep's.
        name: the sweep's.
        command: what makes it again.
        definition: its title, and what the paper says.
        grid: its axes.
        standings: its cells, in the grid's order.
    """

    folder: Path
    name: str
    command: str
    definition: Definition
    grid: Grid
    standings: list[Standing] = field(default_factory=list)

    def run_folder(self, id: str) -> Path:
        """Return the folder of a run."""
        return self.folder / CELLS / id

    def others(self) -> int:
        """Return how many runs lie in the folder that the grid does not have: of another grid that was run there."""
        mine = {standing.id for standing in self.standings}
        return sum(path.name not in mine for path in (self.folder / CELLS).iterdir())

    def take_up(self) -> None:
        """Mark what is finished already: the run's own record decides, not what an earlier sweep.json says."""
        before = {cell["id"]: cell for cell in _read(self.folder).get("cells", [])}
        for standing in self.standings:
            if standing.status != "pending":
                continue
            try:
                summary = load_summary(self.run_folder(standing.id))
            except RecordsError:
                continue
            if summary["status"] == "completed":
                told = before.get(standing.id, {})
                standing.status = "completed"
                standing.seconds = told.get("seconds") or summary["wall_seconds"]
                standing.memory_bytes, standing.gpu_bytes = told.get("memory_bytes"), told.get("gpu_bytes")

    def write(self) -> None:
        """Write sweep.json anew, never half of it.

        Raises:
            RecordsError: it cannot be written.
        """
        content = {
            "name": self.name,
            "scale": self.grid.scale,
            "title": self.definition.title,
            "command": self.command,
            "axes": self.grid.axes,
            "fixed": self.grid.fixed,
            "cells": [_told(standing) for standing in self.standings],
            "paper": [{k: v for k, v in asdict(told).items() if v is not None} for told in self.definition.paper],
        }
        parts = (f"{json.dumps(key)}: {_text(value)}" for key, value in content.items())
        replace_file(self.folder / SWEEP_FILE, ("{\n" + ",\n".join(parts) + "\n}\n").encode())


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Make the sweep's folder and hold it for this process.

    Raises:
        SweepError: another process works on it, it holds another sweep, or it cannot be written to.
    """
    try:
        (folder / CELLS).mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise SweepError(f"cannot write to {folder}: {error.strerror}; choose another --folder") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SweepError(
                f"another process works on the sweep in {folder}; wait until it has ended, end it, or choose "
                "another --folder"
            ) from None
        there = _read(folder).get("name", name)
        if there != name:
            raise SweepError(f"{folder} holds the sweep '{there}', not '{name}'; choose another --folder")
        yield
    finally:
        os.close(lock)


def _read(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / SWEEP_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SweepError(f"{folder / SWEEP_FILE} cannot be read ({error}); remove it, finished cells stay") from error
    if not isinstance(content, dict):
        raise SweepError(f"{folder / SWEEP_FILE} is no sweep's; choose another --folder")
    return content


def _told(standing: Standing) -> dict[str, Any]:
    return {
        "id": standing.id,
        "folder": f"{CELLS}/{standing.id}",
        "values": standing.cell.values,
        "status": standing.status,
        "reason": standing.reason,
        "seconds": standing.seconds,
        "memory_bytes": standing.memory_bytes,
        "gpu_bytes": standing.gpu_bytes,
    }


def _text(value: Any) -> str:
    """Return JSON with one entry of a list of objects a line."""
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f" {json.dumps(entry, ensure_ascii=False)}" for entry in value) + "\n]"
    return json.dumps(value, ensure_ascii=False)
