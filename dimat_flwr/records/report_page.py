"""The report of a run: one HTML file that needs nothing else, with the plots inside."""

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from dimat_flwr.events import STAGES
from dimat_flwr.records.accuracy_plot import plot_accuracy
from dimat_flwr.records.errors import RecordsError
from dimat_flwr.records.figure import run_title
from dimat_flwr.records.files import replace_file
from dimat_flwr.records.headline import final_line, peers_reported, percent, readable_bytes, readable_time
from dimat_flwr.records.topology_plot import plot_topology

REPORT_FILE = "report.html"
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
$refresh<title>$title</title>
<style>
  :root { --ink: #222; --faint: #6b6b6b; --line: #e2e2e2; --teal: #00798c; --red: #d1495b; --gold: #b7791f; }
  body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 68rem; margin: 2rem auto; padding: 0 1em; }
  h1 { font-size: 1.6rem; margin: 0 0 .4rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
  p { margin: .3rem 0 .6rem; } .faint { color: var(--faint); }
  .status { display: inline-block; padding: .15rem .7rem; border-radius: 1rem; color: white; background: var(--faint); }
  .completed .status { background: var(--teal); } .failed .status { background: var(--red); }
  .incomplete .status, .interrupted .status { background: var(--gold); }
  .tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
  .tile { border: 1px solid var(--line); border-radius: .6rem; padding: .6rem 1rem; min-width: 7.5rem; }
  .tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
  .tile span { color: var(--faint); }
  .plots { display: flex; flex-wrap: wrap; gap: 1rem; align-items: center; }
  .plots img { max-width: 100%; } .plots .wide { width: 38rem; } .plots .square { width: 24rem; }
  .scroll { overflow-x: auto; }
  table { border-collapse: collapse; } td, th { padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top; }
  td, th { border-bottom: 1px solid var(--line); } th { font-weight: 600; }
  .numbers td, .numbers th { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
  .problems td:last-child { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .9em; }
  .file { font-family: ui-monospace, monospace; font-size: .85em; }
  pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; border-radius: .4rem; }
</style>
</head>
<body class="$status">
<h1>$title</h1>
<p><span class="status">$status</span> $reason</p>
<p class="faint">$headline</p>
<div class="tiles">$tiles</div>
<div class="plots"><img class="wide" alt="accuracy over the rounds" src="$accuracy_image">
<img class="square" alt="the topology" src="$topology_image"></div>
<h2>Saved models</h2>
<p class="faint">Measured on exactly the tensors that are in the files; paths are below the run's folder on each peer's
machine.</p>
<div class="scroll">$final</div>
<h2>Rounds</h2>
<p class="faint">Mean ± standard deviation over the peers that reported; accuracies in percent.</p>
<div class="scroll">$rounds</div>
$observed<h2>Failures, late peers, rejected payloads</h2>
<div class="scroll">$problems</div>
<h2>The run</h2>
<div class="scroll"><table>$facts</table></div>
<h2>Command</h2>
<pre>$command</pre>
<h2>Configuration</h2>
<pre>$config</pre>
</body>
</html>
""")
_SHOWN_ELSEWHERE = {
    "status", "reason", "command", "edges", "rounds", "problems", "problems_total", "versions", "final",
    "last_accuracy", "last_observed", "final_accuracy", "final_accuracy_spread", "final_peers", "lost_peers",
    "privacy",
}  # fmt: skip
_MANY_ROUNDS = 300  # a longer table shows the first and the last ones
_REFRESH = '<meta http-equiv="refresh" content="15">\n'


def draw_report(folder: Path, summary: dict[str, Any]) -> list[Path]:
    """Draw accuracy.png, topology.png and report.html into a run's folder and return their paths.

    Args:
        folder: the run's folder; its config.yaml is shown where it exists.
        summary: see ``dimat_flwr.records.summary.summarize``. While the run goes on, the page loads itself anew.

    Raises:
        RecordsError: a file cannot be written.
    """
    accuracy, topology, report = (folder / name for name in ("accuracy.png", "topology.png", REPORT_FILE))
    config = folder / "config.yaml"
    plot_accuracy(summary, accuracy)
    plot_topology(summary, topology)
    try:
        text = config.read_text(encoding="utf-8", errors="replace") if config.exists() else "not recorded"
        page = _page(summary, accuracy, topology, text)
    except OSError as error:
        raise RecordsError(f"cannot read what belongs into {report}: {error}; is the folder gone?") from error
    replace_file(report, page.encode())
    return [accuracy, topology, report]


def _page(summary: dict[str, Any], accuracy: Path, topology: Path, config: str) -> str:
    return _PAGE.substitute(
        refresh=_REFRESH if summary["status"] == "running" else "",
        title=escape(run_title(summary)),
        status=escape(summary["status"]),
        reason=escape(summary["reason"] or ""),
        headline=escape(final_line(summary)),
        tiles=_tiles(summary),
        accuracy_image=_inlined(accuracy),
        topology_image=_inlined(topology),
        final=_final(summary["final"]),
        rounds=_rounds(summary["rounds"]),
        observed=_observed(summary["rounds"]),
        problems=_problems(summary["problems"], summary["problems_total"]),
        facts=_facts(summary),
        command=escape(summary["command"] or "not recorded"),
        config=escape(config),
    )


def _tiles(summary: Mapping[str, Any]) -> str:
    done, planned = max((entry["round"] for entry in summary["rounds"]), default=0), summary.get("rounds_planned")
    tiles = [
        (percent(summary), "final accuracy"),
        (peers_reported(summary), "with a saved model"),
        (f"{done} of {planned}" if planned is not None else str(done), "rounds"),
        (readable_bytes(summary["bytes_total"]), "relayed"),
        (readable_time(summary["wall_seconds"]), "time"),
    ]
    told = summary["privacy"]
    if told:
        found = "no bound" if told["epsilon"] is None else f"{told['epsilon']:.2f}"
        tiles.append((found, f"largest epsilon, delta {told['delta']:g}"))
    if summary["lost_peers"]:
        tiles.append((str(len(summary["lost_peers"])), "peers lost"))
    return "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in tiles
    )


def _facts(summary: Mapping[str, Any]) -> str:
    shown = {
        key: value for key, value in summary.items() if key not in _SHOWN_ELSEWHERE and value not in (None, {}, [])
    }
    writer = shown.pop("writer", None)
    if writer:
        shown["relay"] = f"process {writer['process']} on {writer['host']}"
    shown |= {f"version of {package}": version for package, version in summary["versions"].items()}
    return "".join(
        f"<tr><th>{escape(key.replace('_', ' '))}</th><td>{escape(_shown(value))}</td></tr>\n"
        for key, value in shown.items()
    )


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _final(final: list[dict[str, Any]]) -> str:
    rows = [
        [
            str(entry["peer"]),
            _number(entry["accuracy"], 2),
            _number(entry["local_accuracy"], 2),
            _number(entry["loss"], 4),
            f"{entry['bytes']:,}",
            entry["file"] or "not saved",
            entry["sha256"][:12] or "–",
        ]
        for entry in final
    ]
    return _table("numbers", ["peer", "accuracy", "local accuracy", "loss", "bytes", "file", "sha256"], rows)


def _rounds(rounds: list[dict[str, Any]]) -> str:
    reported = {
        measure: [key for stage in STAGES if any(entry[key := f"{measure}_{stage}"] is not None for entry in rounds)]
        for measure in ("accuracy", "local_accuracy")
    }
    counts = ["peers", "lost", "failures", "late", "rejected"]
    left_out = max(0, len(rounds) - _MANY_ROUNDS)
    shown = rounds if not left_out else [*rounds[: _MANY_ROUNDS // 2], *rounds[-_MANY_ROUNDS // 2 :]]
    rows = [
        [str(entry["round"]), *(_mean_and_spread(entry, key, 2) for key in reported["accuracy"])]
        + [_mean_and_spread(entry, "loss", 4), f"{entry['bytes']:,}", *(str(entry[key]) for key in counts)]
        + [_mean_and_spread(entry, key, 2) for key in reported["local_accuracy"]]
        for entry in shown
    ]
    columns = ["round", *reported["accuracy"], "training loss", "bytes", *counts, *reported["local_accuracy"]]
    note = f"<p>{left_out:,} rounds in the middle are in summary.json.</p>" if left_out else ""
    return note + _table("numbers", columns, rows)


def _observed(rounds: list[dict[str, Any]]) -> str:
    """Return what instruments found, a row per round that was observed; nothing for a run without any."""
    found = [(entry["round"], entry["observed"]) for entry in rounds if entry["observed"]]
    found = found if len(found) <= _MANY_ROUNDS else found[-_MANY_ROUNDS:]
    if not found:
        return ""
    counts = ("_spread", "_peers", "units_moved")
    figures = list(dict.fromkeys(key for _, observed in found for key in observed if not key.endswith(counts)))
    groups = list(dict.fromkeys(group for _, observed in found for group in observed.get("units_moved", {})))
    rows = [[str(number), *(_figure(observed, key) for key in figures)] for number, observed in found]
    moved = [
        [str(number), *(_number(observed["units_moved"].get(group), 4) for group in groups)]
        for number, observed in found
        if "units_moved" in observed
    ]
    text = (
        '<h2>Instruments</h2>\n<p class="faint">What was observed and not applied; the bytes of it are not among those '
        f'above.</p>\n<div class="scroll">{_table("numbers", ["round", *figures], rows)}</div>\n'
    )
    if moved:
        title = '<p class="faint">Share of units that aligning moved, for each permutation group.</p>\n'
        text += f'{title}<div class="scroll">{_table("numbers", ["round", *groups], moved)}</div>\n'
    return text


def _figure(observed: Mapping[str, Any], key: str) -> str:
    spread = observed.get(f"{key}_spread")
    return _shown(observed.get(key)) + ("" if spread is None else f" ± {spread:.3g}")


def _mean_and_spread(entry: Mapping[str, Any], key: str, digits: int) -> str:
    return "–" if entry[key] is None else f"{entry[key]:.{digits}f} ± {entry[f'{key}_spread']:.{digits}f}"


def _problems(problems: list[dict[str, Any]], total: int) -> str:
    first = ("round", "exchange", "event", "peer")
    rows = []
    for event in problems:
        rest = "; ".join(f"{key}: {_shown(value)}" for key, value in event.items() if key not in first)
        rows.append([_shown(event.get(key)) for key in first] + [rest])
    left_out = total - len(problems)
    note = f"<p>{left_out:,} more are in metrics.jsonl.</p>" if left_out else ""
    return note + _table("problems", [*first, "what"], rows)


def _table(css_class: str, columns: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{escape(column.replace('_', ' '))}</th>" for column in columns)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="{css_class}"><tr>{head}</tr>\n{body}</table>'


def _inlined(image: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(image.read_bytes()).decode("ascii")
