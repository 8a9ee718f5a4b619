"""The report of a run: one HTML file that needs nothing else."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from dimat_flwr.records.accuracy_plot import plot_accuracy
from dimat_flwr.records.errors import RecordsError
from dimat_flwr.records.figure import run_title
from dimat_flwr.records.files import replace_file
from dimat_flwr.records.headline import final_line
from dimat_flwr.records.page.document import PageParts, document, figure, tiles
from dimat_flwr.records.report_tables import run_facts, run_tables, run_tiles
from dimat_flwr.records.run_charts import RunCurves
from dimat_flwr.records.run_pictures import topology_chart, work_chart, work_shares
from dimat_flwr.records.timeline import Timeline
from dimat_flwr.records.topology_plot import caption, plot_topology
from dimat_flwr.records.totals import Totals

REPORT_FILE = "report.html"


def draw_report(folder: Path, summary: dict[str, Any], totals: Totals, timeline: Timeline) -> list[Path]:
    """Draw accuracy.png, topology.png and report.html into a run's folder and return their paths.

    Args:
        folder: the run's folder; its config.yaml is shown where it exists.
        summary: see ``dimat_flwr.records.summary.summarize``. While the run goes on, the page loads itself anew.
        totals: what the summary was made of, peer by peer.
        timeline: when whom was asked, and had answered.

    Raises:
        RecordsError: a file cannot be written.
    """
    accuracy, topology, report = (folder / name for name in ("accuracy.png", "topology.png", REPORT_FILE))
    config = folder / "config.yaml"
    plot_accuracy(summary, accuracy)
    plot_topology(summary, topology)
    curves = RunCurves(summary, totals, timeline)
    try:
        text = config.read_text(encoding="utf-8", errors="replace") if config.exists() else "not recorded"
        charts, body = _charts(summary, curves, timeline, accuracy.read_bytes(), topology.read_bytes())
    except OSError as error:
        raise RecordsError(f"cannot read what belongs into {report}: {error}; is the folder gone?") from error
    page = PageParts(
        title=run_title(summary),
        kind=summary["status"],
        body=_head(summary) + body + run_tables(summary) + _origin(summary, text),
        charts=charts,
        refresh=summary["status"] == "running",
    )
    replace_file(report, document(page).encode())
    return [accuracy, topology, report]


def _head(summary: Mapping[str, Any]) -> str:
    status, reason = escape(summary["status"]), escape(summary["reason"] or "")
    return (
        f'<p><span class="status own">{status}</span> {reason}</p>\n<p>{escape(final_line(summary))}</p>\n'
        f"{tiles(run_tiles(summary))}<pre>{escape(summary['command'] or 'command: not recorded')}</pre>\n"
    )


def _charts(
    summary: dict[str, Any], curves: RunCurves, timeline: Timeline, accuracy: bytes, topology: bytes
) -> tuple[list[dict[str, Any]], str]:
    """Return what the script draws, and the HTML that it draws into; images stand in where no script runs."""
    quality, gain, moved, groups = curves.quality(), curves.gain(), curves.units_moved(), curves.groups_moved()
    work, graph = work_chart(timeline), topology_chart(summary)
    rounds = len(summary["rounds"])
    every = f" Of {rounds:,} rounds {curves.drawn} are drawn." if curves.drawn < rounds else ""
    if summary["status"] == "running":
        every += " Where not all peers are done with a round yet, its means are over those that are, and say so."
    every += f" {curves.left_out:,} more peers have no curve; means are over all." if curves.left_out else ""
    lost = " A dotted vertical line: from here on a peer fewer." if summary["lost_peers"] else ""
    bands = f"Means over the peers, with a band of one standard deviation.{every}"
    parts = [
        (quality, "Accuracy and loss", f"{bands} Bytes are those of all payloads so far, without instruments'.{lost}",
         accuracy),
        (gain, "What merging brings", "After a round's merge, less after the training of the round before; needs an "
               f"evaluation in both (<code>evaluate.every=1</code>). {bands}", None),
        (moved, "Units moved", "The share of units that change places when a neighbour's model is aligned.", None),
        (groups, "Units moved, per permutation group", "As the instruments told it: a row per group.", None),
        (work, "Who worked, who waited", _work_caption(timeline, work), None),
        (graph, "Topology", escape(caption(summary)), topology),
    ]  # fmt: skip
    body = "".join(
        f"<h2>{title}</h2>\n{figure(chart['id'], below, image, title)}" for chart, title, below, image in parts if chart
    )
    if not quality:
        body = f"<p>No accuracy and no loss was reported.</p>\n{body}"
    return [chart for chart, *_ in parts if chart], body


def _work_caption(timeline: Timeline, work: Mapping[str, Any] | None) -> str:
    shares = ", ".join(f"{name} {share:.0%}" for name, share in work_shares(timeline).items())
    drawn = " Only the newest exchanges are drawn." if work and work["newest"] else ""
    drawn += f" Only the first {work['first']} peers are drawn." if work and work["first"] else ""
    return (
        f"Of the time of all peers: {shares}.{drawn} By the relay's clock, from its message to the answer; its "
        "work, training and merging are what the peer tells, drawn at the end of that span. In a simulation messages "
        "also queue for a worker."
    )


def _origin(summary: Mapping[str, Any], config: str) -> str:
    return (
        f'<h2>The run</h2>\n<div class="scroll"><table>{run_facts(summary)}</table></div>\n'
        f"<h2>Configuration</h2>\n<pre>{escape(config)}</pre>\n"
    )
