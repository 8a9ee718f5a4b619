"""``dimat-flwr sweep``: all cells of a named sweep."""

import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from dimat_flwr.cli.errors import told_in_one_line

if TYPE_CHECKING:
    from dimat_flwr.sweeps.sweep import Asked

_DATA = "data-dir"


def sweep(
    name: str,
    settings: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the sweep; if left out NAME-SCALE in ~/dimat-flwr/sweeps.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Cells at a time; as many as cores, and GPU memory, allow."),
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Run nothing: measure parts of it, and say what all would take.")
    ] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Run what is meant for a GPU without one.")] = False,
) -> None:
    """Run the cells of a sweep that are not finished; stop it at any time, and the same command goes on.

    NAME is a yaml of conf/sweep; grid has nothing but what comes here. KEY=VALUE is scale=small, data-dir=PATH, and
    anything of conf/ over what the sweep says, with several values to make or narrow an axis (algorithm=dimat,sgp
    seed=range(0,5) peers=8).

    Without a GPU, a scale that is meant for one is not run: parts of it are measured, and what it would take is told.
    """
    from dimat_flwr.conf_dir import find_conf_dir
    from dimat_flwr.records.errors import RecordsError
    from dimat_flwr.sweeps.definition import load_definition
    from dimat_flwr.sweeps.grid import expand
    from dimat_flwr.sweeps.hands import cores, free_gpus, jobs_that_fit
    from dimat_flwr.sweeps.sweep import Asked, run_sweep

    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) == signal.SIG_DFL:  # nohup has it ignored
            signal.signal(ending, _stop)
    words = settings or []
    console = Console(soft_wrap=True)
    with told_in_one_line(RecordsError):
        places = dict(word.split("=", 1) for word in words if word.startswith(f"{_DATA}="))
        definition = load_definition(name, find_conf_dir())
        grid = expand(definition, [word for word in words if not word.startswith(f"{_DATA}=")])
        asked = Asked(name, definition, grid, shlex.join(["dimat-flwr", "sweep", name, *words]), places)
        where = (folder or Path(f"~/dimat-flwr/sweeps/{name}-{grid.scale}")).expanduser().absolute()
        free = free_gpus()
        meant_for_gpu = not free and grid.scale in definition.needs_gpu
        if estimate or (meant_for_gpu and not anyway):
            _tell(asked, jobs or cores(), len(free), console)
            if estimate:
                return
            console.print(
                f"scale={grid.scale} is meant for a GPU and there is none: nothing was run. --anyway runs it all the "
                f"same; other scales: {', '.join(scale for scale in definition.scales if scale != grid.scale)}",
                markup=False,
            )
            raise typer.Exit(1)
        try:
            if jobs is None and free:
                jobs = min(cores(), jobs_that_fit(free, asked))
            record = run_sweep(asked, where, jobs or cores(), len(free))
        except (KeyboardInterrupt, SystemExit) as stop:
            console.print(f"stopped; what is finished stays in {where}, and the same command goes on", markup=False)
            raise typer.Exit(int(stop.code or 0) if isinstance(stop, SystemExit) else 130) from None
    failed = {standing.id for standing in record.standings if standing.status == "failed"}
    runs = {standing.id for standing in record.standings}
    console.print(f"{len(runs) - len(failed)} of {len(runs)} cells are finished: {where}", markup=False)
    if others := record.others():
        console.print(
            f"{others} more runs lie there that this grid does not have: they stay, and are in no table until they are "
            "asked for again",
            markup=False,
        )
    if failed:
        console.print("the same command tries those that failed again", markup=False)
        raise typer.Exit(1)


def _tell(asked: "Asked", jobs: int, gpus: int, console: Console) -> None:
    """Print what a sweep would take."""
    from dimat_flwr.sweeps.estimate import estimate, markdown

    found = estimate(asked, jobs, gpus, lambda line: console.print(line, markup=False))
    console.print(markdown(found, jobs), markup=False)


def _stop(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
