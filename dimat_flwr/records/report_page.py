"""The report of a run: one HTML file that needs nothing else, with the plots inside."""

import base64
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from dimat_flwr.records.accuracy_plot import plot_accuracy
from dimat_flwr.records.errors import RecordsError
from dimat_flwr.records.rounds import STAGES
from dimat_flwr.records.topology_plot import plot_topology

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
  .plots { display: flex; flex-wrap: wrap; gap: 1rem; align-items: center; }
  .plots img { max-width: 100%; } .plots .wide { width: 36rem; } .plots .square { width: 24rem; }
  .scroll { overflow-x: auto; }
  table { border-collapse: collapse; } td, th { padding: .2rem .7rem; border-bottom: 1px solid #ddd; text-align: left; }
  table.numbers td, table.numbers th { text-align: right; font-variant-numeric: tabular-nums; }
  pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; }
  .failed { color: #d1495b; }
</style>
</head>
<body>
<h1>$title</h1>
<p class="$status">$headline</p>
<div class="plots"><img class="wide" alt="accuracy over the rounds" src="$accuracy_image">
<img class="square" alt="the topology" src="$topology_image"></div>
<h2>The run</h2>
<table>$facts</table>
<h2>Command</h2>
<pre>$command</pre>
<h2>Rounds</h2>
<p>Accuracies in percent: mean ± standard deviation over the peers that reported.</p>
<div class="scroll">$rounds</div>
<h2>Failures, late and rejected models</h2>
<div class="scroll">$problems</div>
<h2>Configuration</h2>
<pre>$config</pre>
</body>
</html>
""")
_ELSEWHERE = {
    "status",
    "reason",
    "command",
    "edges",
    "rounds",
    "problems",
    "versions",
}  # shown outside the facts' table


def draw_report(folder: Path, summary: dict[str, Any]) -> list[Path]:
    """Draw accuracy.png, topology.png and report.html into a run's folder and return their paths.

    Args:
        folder: the run's folder; its config.yaml is shown where it exists.
        summary: see ``dimat_flwr.records.summary.summarize``.

    Raises:
        RecordsError: a file cannot be written.
    """
    accuracy, topology, report = (folder / name for name in ("accuracy.png", "topology.png", "report.html"))
    config = folder / "config.yaml"
    try:
        plot_accuracy(summary, accuracy)
        plot_topology(summary, topology)
        text = config.read_text(encoding="utf-8") if config.exists() else "not recorded"
        report.write_text(_page(summary, accuracy, topology, text), encoding="utf-8")
    except OSError as error:
        raise RecordsError(
            f"cannot draw the report in {folder}: {error}; is the disk full, or the folder gone?"
        ) from error
    return [accuracy, topology, report]


def _page(summary: dict[str, Any], accuracy: Path, topology: Path, config: str) -> str:
    names = [str(summary[key]) for key in ("algorithm", "topology", "dataset") if summary.get(key) is not None]
    return _PAGE.substitute(
        title=escape(" · ".join(names) or "A run"),
        status=escape(summary["status"]),
        headline=escape(_headline(summary)),
        accuracy_image=_inlined(accuracy),
        topology_image=_inlined(topology),
        facts=_facts(summary),
        command=escape(summary.get("command") or "not recorded"),
        rounds=_rounds(summary["rounds"]),
        problems=_problems(summary["problems"]),
        config=escape(config),
    )


def _headline(summary: dict[str, Any]) -> str:
    status = f"{summary['status']}: {summary['reason']}" if summary.get("reason") else summary["status"]
    if summary["final_accuracy"] is None:
        return f"{status} · no accuracy was reported"
    stage = summary["final_stage"].replace("_", " ")
    reached = f"{summary['final_accuracy']:.2f} ± {summary['final_accuracy_spread']:.2f} %"
    return f"{status} · accuracy {reached} {stage} in round {summary['final_round']}"


def _facts(summary: dict[str, Any]) -> str:
    shown = {key: value for key, value in summary.items() if key not in _ELSEWHERE and value is not None}
    shown |= {f"version of {package}": version for package, version in summary["versions"].items()}
    return "".join(
        f"<tr><th>{escape(key.replace('_', ' '))}</th><td>{escape(_shown(value))}</td></tr>\n"
        for key, value in shown.items()
    )


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value)


def _rounds(rounds: list[dict[str, Any]]) -> str:
    accuracies = [f"{measure}_{stage}" for measure in ("accuracy", "local_accuracy") for stage in STAGES]
    accuracies = [key for key in accuracies if any(entry[key] is not None for entry in rounds)]
    rows = [
        [str(entry["round"])]
        + [_mean_and_spread(entry, key) for key in accuracies]
        + [f"{entry['bytes']:,}", *(str(entry[key]) for key in ("peers", "failures", "late", "rejected"))]
        for entry in rounds
    ]
    columns = ["round", *accuracies, "bytes", "peers", "failures", "late", "rejected"]
    return _table("numbers", columns, rows)


def _mean_and_spread(entry: dict[str, Any], key: str) -> str:
    return "–" if entry[key] is None else f"{entry[key]:.2f} ± {entry[f'{key}_spread']:.2f}"


def _problems(problems: list[dict[str, Any]]) -> str:
    first = ("round", "event", "peer")
    rows = []
    for event in problems:
        rest = "; ".join(f"{key}: {_shown(value)}" for key, value in event.items() if key not in first)
        rows.append([_shown(event.get(key)) for key in first] + [rest])
    return _table("problems", [*first, "what"], rows)


def _table(css_class: str, columns: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{escape(column.replace('_', ' '))}</th>" for column in columns)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="{css_class}"><tr>{head}</tr>\n{body}</table>'


def _inlined(image: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(image.read_bytes()).decode("ascii")
