"""One sweep from its name to its last cell."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from dimat_flwr.sweeps.crew import Crew, Failed
from dimat_flwr.sweeps.definition import Definition
from dimat_flwr.sweeps.errors import SweepError
from dimat_flwr.sweeps.grid import Cell, Grid
from dimat_flwr.sweeps.hands import environments
from dimat_flwr.sweeps.job import PREPARE, WORK, Checked, Job
from dimat_flwr.sweeps.progress import Progress
from dimat_flwr.sweeps.record import Record, Standing, alone

_MANY = 50  # cells that it takes seconds to look at
_NAMED = 10  # faults in one error


@dataclass(frozen=True)
class Asked:
    """A sweep as it was asked for.

    Attributes:
        name: its name.
        definition: what its yaml says.
        grid: its cells.
        command: what makes it again.
        settings: of Flower's run-config, the same for all cells: where data lie.
    """

    name: str
    definition: Definition
    grid: Grid
    command: str
    settings: Mapping[str, str]

    def job(self, cell: Cell, folder: Path | None = None) -> Job:
        """Return what a process needs to know to check the cell, or to run it into a folder."""
        run_config = {**self.settings, "overrides": shlex.join(cell.overrides)}
        command = shlex.join(["dimat-flwr", "local", "--peers", str(cell.peers), *cell.overrides])
        return Job(run_config, cell.peers, command, tuple(self.grid.axes), folder)


def run_sweep(asked: Asked, folder: Path, jobs: int, gpus: int, out: TextIO = sys.stderr) -> Record:
    """Run all cells that are not finished, and return how they stand.

    Whatever ends this, an exception or a signal that raises one, ends the processes, too, and leaves sweep.json true.

    Args:
        asked: the sweep.
        folder: of the sweep; made where missing, gone on with where not.
        jobs: how many cells are run at a time.
        gpus: how many GPUs there are.
        out: where to say how far it is.

    Raises:
        SweepError: a cell has faults, so that nothing was run, or the folder is another sweep's or in use.
        RecordsError: sweep.json cannot be written.
    """
    with alone(folder, asked.name), Crew(environments(jobs, gpus), PREPARE) as crew:
        record = Record(folder, asked.name, asked.command, asked.definition, asked.grid)
        known = checked(asked, crew, lambda text: print(text, file=out, flush=True))
        record.standings = [Standing(cell, one.id) for cell, one in zip(asked.grid.cells, known, strict=True)]
        record.take_up()
        _require_data(record.standings, known)
        record.write()
        runs: dict[str, list[Standing]] = {}
        for standing in record.standings:
            if standing.status != "completed":
                runs.setdefault(standing.id, []).append(standing)
        progress = Progress(record.standings, list(asked.grid.axes), jobs, out)
        try:
            _work_off(asked, record, list(runs.values()), crew, progress)
        finally:
            for standing in record.standings:
                if standing.status == "running":
                    standing.status = "pending"
            record.take_up()  # of those that were stopped some may have been done, and not yet said so
            record.write()
            progress.close()
    return record


def checked(asked: Asked, crew: Crew, say: Callable[[str], None]) -> list[Checked]:
    """Return what is known of every cell, after looking whether each can be run.

    Args:
        asked: the sweep.
        crew: looks.
        say: takes a line on what is being done, where it takes a while.

    Raises:
        SweepError: with what is wrong with which.
    """
    found: dict[int, Checked] = {}
    faults: dict[str, list[int]] = {}
    if len(asked.grid.cells) >= _MANY:
        say(f"looking at {len(asked.grid.cells)} cells before any is run ...")
    for number, result in crew.work(f"{WORK}:check", [asked.job(cell) for cell in asked.grid.cells]):
        if isinstance(result, Failed):
            faults.setdefault(result.reason, []).append(number)
        else:
            found[number] = result
    if faults:
        told = []
        for reason, cells in list(faults.items())[:_NAMED]:
            more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
            told.append(f"{' '.join(asked.grid.cells[min(cells)].overrides)}{more}: {reason}")
        raise SweepError("these cells cannot be run, and none was begun:\n" + "\n".join(told))
    return [found[number] for number in range(len(found))]


def _require_data(standings: Sequence[Standing], known: Sequence[Checked]) -> None:
    """Refuse a sweep that lacks data for what is still to be run."""
    missing = dict.fromkeys(
        one.missing for standing, one in zip(standings, known, strict=True)
        if standing.status != "completed" and one.missing
    )  # fmt: skip
    if missing:
        raise SweepError("nothing was begun, as data are missing:\n" + "\n".join(map(str, missing)))


def _work_off(asked: Asked, record: Record, runs: Sequence[list[Standing]], crew: Crew, progress: Progress) -> None:
    """Run cells; all that have one identity stand alike."""

    def begun(number: int) -> None:
        for standing in runs[number]:
            standing.status, standing.reason = "running", None
        record.write()
        progress.begun(runs[number][0])

    tasks = [asked.job(alike[0].cell, record.run_folder(alike[0].id)) for alike in runs]
    for number, result in crew.work(f"{WORK}:run", tasks, begun):
        accuracy = None
        for standing in runs[number]:
            if isinstance(result, Failed):
                standing.status, standing.reason = "failed", result.reason
                continue
            accuracy = result.accuracy
            standing.status = "completed" if result.status == "completed" else "failed"
            standing.reason, standing.seconds = result.reason, result.seconds
            standing.memory_bytes, standing.gpu_bytes = result.memory_bytes, result.gpu_bytes
        record.write()
        progress.ended(runs[number][0], accuracy)
