"""``dimat-flwr sweep``: all cells of a named sweep."""

import shlex
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dimat_flwr.cli.errors import told_in_one_line

_DATA = "data-dir"


def sweep(
    name: Annotated[str, typer.Argument(help="A yaml of conf/sweep; `grid` has nothing but what comes here.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="scale=small, data-dir=PATH, and anything of conf/ over what the sweep says, with several values to "
            "make or narrow an axis (algorithm=dimat,sgp seed=range(0,5) peers=8).",
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the sweep; ~/dimat-flwr/sweeps/NAME-SCALE where nothing is said.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Cells at a time; as many as cores, and GPU memory, allow.")
    ] = None,
) -> None:
    """Run the cells of a sweep that are not finished; stop it at any time, and the same command goes on."""
    from dimat_flwr.conf_dir import find_conf_dir
    from dimat_flwr.records.errors import RecordsError
    from dimat_flwr.sweeps.definition import load_definition
    from dimat_flwr.sweeps.grid import expand
    from dimat_flwr.sweeps.hands import cores
    from dimat_flwr.sweeps.sweep import Asked, run_sweep

    signal.signal(signal.SIGTERM, lambda *_: _stop(128 + signal.SIGTERM))
    words = settings or []
    console = Console(soft_wrap=True)
    with told_in_one_line(RecordsError):
        places = {_DATA: word.partition("=")[2] for word in words if word.startswith(f"{_DATA}=")}
        definition = load_definition(name, find_conf_dir())
        grid = expand(definition, [word for word in words if not word.startswith(f"{_DATA}=")])
        command = shlex.join(["dimat-flwr", "sweep", name, *words])
        where = (folder or Path(f"~/dimat-flwr/sweeps/{name}-{grid.scale}")).expanduser().absolute()
        asked = Asked(name, definition, grid, command, places)
        try:
            record = run_sweep(asked, where, jobs or cores(), 0)
        except (KeyboardInterrupt, SystemExit) as stop:
            console.print(f"stopped; what is finished stays in {where}, and the same command goes on", markup=False)
            raise typer.Exit(stop.code if isinstance(stop, SystemExit) else 130) from None  # type: ignore[arg-type]
    failed = {standing.id for standing in record.standings if standing.status == "failed"}
    runs = {standing.id for standing in record.standings}
    console.print(f"{len(runs) - len(failed)} of {len(runs)} cells are finished: {where}", markup=False)
    if failed:
        raise typer.Exit(1)


def _stop(code: int) -> None:
    raise SystemExit(code)
