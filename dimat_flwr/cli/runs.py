"""``dimat-flwr report`` and ``compare``: what runs left behind, drawn again and side by side."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from dimat_flwr.cli.errors import told_in_one_line


def report(
    folders: list[Path],
) -> None:
    """Draw plots and report of runs again from their records, and say how each stands; of a sweep, with its table.

    FOLDERS are those of runs, also of some that still go on or were cut short, or of sweeps.
    """
    from dimat_flwr.records import RecordsError
    from dimat_flwr.records.sweep import is_sweep

    for folder in folders:
        with told_in_one_line(RecordsError):
            said = _draw_sweep(folder) if is_sweep(folder) else _draw_run(folder)
        page = (folder / "report.html").absolute()
        Console().print(f"{said}; report: {page}", soft_wrap=True, markup=False)


def _draw_run(folder: Path) -> str:
    from dimat_flwr.records import replay
    from dimat_flwr.records.headline import final_line

    summary = replay(folder)
    why = f" ({summary['reason']})" if summary["reason"] else ""
    return f"{summary['status']}{why}: {final_line(summary)}"


def _draw_sweep(folder: Path) -> str:
    from dimat_flwr.records.sweep import draw_sweep

    sweep, table = draw_sweep(folder)
    typer.echo(table)
    completed = sum(cell.status == "completed" for cell in sweep.cells)
    return f"{completed} of {len(sweep.cells)} cells completed"


def compare(
    folders: list[Path],
    output: Annotated[Path, typer.Option("--output", "-o", help="The figure.")] = Path("compare.png"),
    against: Annotated[
        Literal["rounds", "bytes"], typer.Option(help="What accuracy is drawn over: rounds, or bytes sent until then.")
    ] = "rounds",
    panels: Annotated[
        str | None, typer.Option(help="One panel for each value of this key of the summaries, such as partition.")
    ] = None,
) -> None:
    """Draw several runs into one figure and print their results side by side.

    FOLDERS are those of runs.
    """
    from dimat_flwr.records import RecordsError
    from dimat_flwr.records import compare as compare_runs

    with told_in_one_line(RecordsError):
        table = compare_runs(folders, output, against, panels)
    typer.echo(table)
    Console().print(f"figure: {output.absolute()}", soft_wrap=True)
