"""``dimat-flwr report`` and ``compare``: what runs left behind, drawn again and side by side."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from dimat_flwr.cli.errors import told_in_one_line


def report(
    folder: Annotated[Path, typer.Argument(help="The folder of a run, also one that was cut short, or of a sweep.")],
) -> None:
    """Draw plots and report of a run again from its records, and say how it stands; of a sweep, with its table."""
    from dimat_flwr.records import RecordsError, replay
    from dimat_flwr.records.headline import final_line
    from dimat_flwr.records.sweep import draw_sweep, is_sweep

    if is_sweep(folder):
        with told_in_one_line(RecordsError):
            sweep, table = draw_sweep(folder)
        completed = sum(cell.status == "completed" for cell in sweep.cells)
        typer.echo(table)
        said = f"{completed} of {len(sweep.cells)} cells completed"
        Console().print(f"{said}; report: {(folder / 'report.html').absolute()}", soft_wrap=True, markup=False)
        return
    with told_in_one_line(RecordsError):
        summary = replay(folder)
    why = f" ({summary['reason']})" if summary["reason"] else ""
    page = (folder / "report.html").absolute()
    Console().print(f"{summary['status']}{why}: {final_line(summary)}; report: {page}", soft_wrap=True, markup=False)


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The figure.")] = Path("compare.png"),
    against: Annotated[
        Literal["rounds", "bytes"], typer.Option(help="What accuracy is drawn over: rounds, or bytes sent until then.")
    ] = "rounds",
    panels: Annotated[
        str | None, typer.Option(help="One panel for each value of this key of the summaries, such as partition.")
    ] = None,
) -> None:
    """Draw several runs into one figure and print their results side by side."""
    from dimat_flwr.records import RecordsError
    from dimat_flwr.records import compare as compare_runs

    with told_in_one_line(RecordsError):
        table = compare_runs(folders, output, against, panels)
    typer.echo(table)
    Console().print(f"figure: {output.absolute()}", soft_wrap=True)
