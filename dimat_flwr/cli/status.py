"""``dimat-flwr status``: how runs stand, on the screen or for Prometheus."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from dimat_flwr.cli.errors import told_in_one_line

if TYPE_CHECKING:
    from dimat_flwr.records.standing import RunStanding

_COLORS = {"active": "", "done": "green", "late": "yellow", "away": "yellow", "failed": "red", "vacant": "dim",
           "stopped": "dim"}  # fmt: skip
_ENDED = ("completed", "incomplete", "failed")


def status(
    folders: list[Path],
    prometheus: Annotated[
        Path | None, typer.Option(help="Write a file for Prometheus' textfile collector instead, such as dimat.prom.")
    ] = None,
) -> None:
    """Show how runs stand: which round, and of each peer what it has done, whether it is there, and its bytes.

    FOLDERS are those of runs, where their relays write them.
    """
    from dimat_flwr.records import RecordsError
    from dimat_flwr.records.files import replace_file
    from dimat_flwr.records.prometheus import prometheus_text
    from dimat_flwr.records.standing import read_standing

    with told_in_one_line(RecordsError):
        runs = [read_standing(folder) for folder in folders]
        if prometheus is not None:
            replace_file(prometheus, prometheus_text(runs).encode())
            return
    for run in runs:
        _show(run)


def _show(run: "RunStanding") -> None:
    from dimat_flwr.records.headline import final_line, readable_bytes, readable_time

    console, summary = Console(highlight=False), run.summary
    why = f" ({summary['reason']})" if summary["reason"] else ""
    planned = "" if summary.get("rounds_planned") is None else f" of {summary['rounds_planned']}"
    reached = f"round {run.round}" if run.round >= 0 else "no round"
    ago = "" if summary["status"] in _ENDED else f", {readable_time(run.silent)} ago"
    lines = [
        f"{run.name}: {summary['status']}{why}",
        f"{reached}{planned} reached by all; {readable_bytes(summary['bytes_total'])} relayed; {final_line(summary)}",
        f"last sign of life at {summary['heartbeat']}{ago}",
    ]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    table = Table("peer", "state", "since round", "has done", "accuracy", "sent", "read", "and", box=None)
    for peer, found in run.peers.items():
        done = "–" if found.round < 0 else f"round {found.round} {found.exchange}"
        also = ", ".join(f"{count} x {what}" for what, count in found.counts.items() if count)
        accuracy = "–" if found.accuracy is None else f"{found.accuracy:.1f} %"
        cells = (f"{found.since}", done, accuracy, readable_bytes(found.sent), readable_bytes(found.read), also)
        table.add_row(f"{peer}", found.state, *cells, style=_COLORS[found.state])
    console.print(table)
