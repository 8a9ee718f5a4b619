"""Several runs side by side: their accuracy after every merge in one figure, and what they came to in one table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dimat_flwr.records.errors import RecordsError
from dimat_flwr.records.figure import accuracy_axes, new_figure, save, title
from dimat_flwr.records.headline import peers_reported, percent, readable_bytes, readable_time
from dimat_flwr.records.summary import load_summary

# Facts that tell runs apart, in the order in which a name is made of them.
_NAMING = ("algorithm", "topology", "schedule", "final_merge", "dataset", "partition", "model", "optimizer",
           "lr_schedule", "correction", "aggregation", "codec", "experiment", "peers", "rounds_planned",
           "seed")  # fmt: skip
_COMMON = ("algorithm", "topology", "dataset", "peers")  # these speak for themselves
_COLOURS = ("#00798c", "#d1495b", "#e09f3e", "#66557a", "#5a9367", "#3d405b", "#c06c84", "#8a8a8a")
_STYLES = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"))
_COLUMNS = ("run", "final accuracy", "of peers", "last after merge", "rounds", "relayed", "time", "status")
_MANY_ROUNDS = 40


def compare(folders: Sequence[Path], path: Path) -> str:
    """Draw several runs into one figure and return a table of them.

    Args:
        folders: the runs' folders.
        path: the PNG to write: one line per run, mean and standard deviation over its peers, in percent; a diamond is
            what the saved models came to.

    Returns:
        The table as Markdown, one row per run, in the order of ``folders``.

    Raises:
        RecordsError: a folder is not that of a run, or the figure cannot be written.
    """
    if not folders:
        raise RecordsError("there is nothing to compare; give the folders of at least one run")
    summaries = [load_summary(folder) for folder in folders]
    names, common = _names(summaries, [folder.name for folder in folders])
    _draw(summaries, names, common, path)
    rows = [_row(name, summary) for name, summary in zip(names, summaries, strict=True)]
    return _markdown([list(_COLUMNS), *rows])


def _names(summaries: Sequence[Mapping[str, Any]], folders: Sequence[str]) -> tuple[list[str], str]:
    """Return a name for each run, made of the facts in which they differ, and one for what they have in common."""
    differ = [key for key in _NAMING if any(summary.get(key) != summaries[0].get(key) for summary in summaries)]
    alike = [key for key in _COMMON if key not in differ and summaries[0].get(key) is not None]
    names = [" · ".join(_fact(key, summary.get(key)) for key in differ) for summary in summaries]
    if len(set(names)) < len(names) or not differ:  # the same thing run twice, or one run alone
        names = [f"{name} · {folder}".removeprefix(" · ") for name, folder in zip(names, folders, strict=True)]
    return names, " · ".join(_fact(key, summaries[0][key]) for key in alike)


def _fact(key: str, value: Any) -> str:
    if key in _COMMON:
        return f"{value} peers" if key == "peers" else str(value)
    return f"{key.removesuffix('_planned').replace('_', ' ')} {value}"


def _draw(summaries: Sequence[Mapping[str, Any]], names: Sequence[str], common: str, path: Path) -> None:
    figure, axes = new_figure(7.6, 4.5)
    ranges: list[tuple[float, float]] = []
    rounds: set[int] = set()
    for number, (summary, name) in enumerate(zip(summaries, names, strict=True)):
        merged = any(entry["accuracy_after_merge"] is not None for entry in summary["rounds"])
        key = "accuracy_after_merge" if merged else "accuracy_after_training"  # peers that never merge only train
        points = [(e["round"], e[key], e[f"{key}_spread"]) for e in summary["rounds"] if e[key] is not None]
        if not points:
            continue
        colour, (marker, line) = _COLOURS[number % len(_COLOURS)], _STYLES[number % len(_STYLES)]
        x, mean, spread = (np.array(column, dtype=float) for column in zip(*points, strict=True))
        low, high = np.clip(mean - spread, 0, 100), np.clip(mean + spread, 0, 100)
        axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
        label = f"{name}: {percent(summary)}"
        axes.plot(x, mean, line, color=colour, linewidth=2.0, markersize=4.5, label=label,
                  marker=marker if len(x) <= _MANY_ROUNDS else None)  # fmt: skip
        ranges.append((float(low.min()), float(high.max())))
        rounds |= set(x.astype(int))
        if summary["final_accuracy"] is not None:
            axes.plot(x[-1], summary["final_accuracy"], "D", color=colour, markerfacecolor="white", markersize=6.5,
                      markeredgewidth=1.8, zorder=5)  # fmt: skip
            ranges.append((summary["final_accuracy"], summary["final_accuracy"]))
    if ranges:
        legend = axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", fontsize=9)
        for text in legend.get_texts():
            text.set_parse_math(False)
    accuracy_axes(axes, sorted(rounds) or [0], ranges)
    title(
        figure,
        axes,
        common or "several runs",
        "lines: after each merge (without merges: after training); diamonds: the saved models",
    )
    save(figure, path)


def _row(name: str, summary: Mapping[str, Any]) -> list[str]:
    merged = [entry["accuracy_after_merge"] for entry in summary["rounds"] if entry["accuracy_after_merge"] is not None]
    return [
        name,
        percent(summary),
        peers_reported(summary),
        f"{merged[-1]:.2f} %" if merged else "–",
        str(max((entry["round"] for entry in summary["rounds"]), default=0)),
        readable_bytes(summary["bytes_total"]),
        readable_time(summary["wall_seconds"]),
        summary["status"],
    ]


def _markdown(rows: list[list[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"
