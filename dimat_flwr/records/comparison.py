"""Several runs side by side: their accuracy after every merge in one figure, and what they came to in one table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dimat_flwr.records.errors import RecordsError
from dimat_flwr.records.figure import accuracy_axes, megabytes_axis, new_panels, percent_axis, save, title
from dimat_flwr.records.headline import peers_reported, percent, readable_bytes, readable_time
from dimat_flwr.records.summary import load_summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Against = Literal["rounds", "bytes"]

# Facts that tell runs apart, in the order in which a name is made of them.
_NAMING = ("algorithm", "topology", "schedule", "final_merge", "dataset", "partition", "model", "optimizer",
           "lr_schedule", "correction", "aggregation", "codec", "experiment", "peers", "rounds_planned",
           "seed")  # fmt: skip
_COMMON = ("algorithm", "topology", "dataset", "peers")  # these speak for themselves
_COUNTED = {"peers": "peers", "rounds_planned": "rounds"}
# Far apart for those who see no red or no green, too.
_COLOURS = ("#00798c", "#d1495b", "#e09f3e", "#5e2ca5", "#1b1b3a", "#56b4e9", "#7b3f00", "#b0b0b0")
_STYLES = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"))
_COLUMNS = ("run", "final accuracy", "of peers", "last after merge", "rounds", "relayed", "time", "status")
_MANY_ROUNDS = 40
# Of a legend: characters in a line, of a name that leaves room for curves beside it, and inches of a line.
_LEGEND_WIDTH, _PANEL_LEGEND_WIDTH, _NAME_BESIDE_CURVES, _LEGEND_LINE = 85, 65, 30, 0.19


def compare(folders: Sequence[Path], path: Path, against: Against = "rounds", panels: str | None = None) -> str:
    """Draw several runs into one figure and return a table of them.

    Args:
        folders: the runs' folders.
        path: the PNG to write: one line per run, mean and standard deviation over its peers, in percent; a diamond is
            what the saved models came to.
        against: what the accuracy is drawn over: rounds, or the bytes that all peers sent until then.
        panels: a fact of the runs, such as ``partition``: one panel for each of its values; None for a single one.

    Returns:
        The table as Markdown, one row per run, in the order of ``folders``.

    Raises:
        RecordsError: a folder is not that of a run, a run does not say that fact, or the figure cannot be written.
    """
    if not folders:
        raise RecordsError("there is nothing to compare; give the folders of at least one run")
    summaries = [load_summary(folder) for folder in folders]
    if panels is not None:
        silent = [
            str(folder) for folder, summary in zip(folders, summaries, strict=True) if summary.get(panels) is None
        ]
        if silent:
            raise RecordsError(f"these runs do not say their {panels!r}: {', '.join(silent)}; choose another fact")
    names, common = _names(summaries, [folder.name for folder in folders], panels)
    _draw(summaries, names, common, path, against, panels)
    rows = [_row(_within(name, summary, panels), summary) for name, summary in zip(names, summaries, strict=True)]
    return _markdown([list(_COLUMNS), *rows])


def _names(summaries: Sequence[Mapping[str, Any]], folders: Sequence[str], panels: str | None) -> tuple[list[str], str]:
    """Return a name for each run, made of the facts in which they differ, and one for what they have in common."""
    facts = [key for key in _NAMING if key != panels]
    differ = [key for key in facts if any(summary.get(key) != summaries[0].get(key) for summary in summaries)]
    alike = [key for key in _COMMON if key in facts and key not in differ and summaries[0].get(key) is not None]
    names = [
        " · ".join(_fact(key, summary[key]) for key in differ if summary.get(key) is not None) for summary in summaries
    ]
    whole = [_within(name, summary, panels) for name, summary in zip(names, summaries, strict=True)]
    names = [  # the same thing run twice, one run alone, or one that says nothing of what the others are
        f"{name} · {folder}".removeprefix(" · ") if whole.count(told) > 1 or not name else name
        for name, told, folder in zip(names, whole, folders, strict=True)
    ]
    return names, " · ".join(_fact(key, summaries[0][key]) for key in alike)


def _within(name: str, summary: Mapping[str, Any], panels: str | None) -> str:
    return name if panels is None else f"{name} · {_fact(panels, summary[panels])}"


def _fact(key: str, value: Any) -> str:
    if key in _COUNTED:
        return f"{value} {_COUNTED[key]}"
    return str(value) if key in _COMMON else f"{key.replace('_', ' ')} {value}"


def _draw(
    summaries: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    common: str,
    path: Path,
    against: Against,
    panels: str | None,
) -> None:
    shown = list(dict.fromkeys(None if panels is None else summary[panels] for summary in summaries))
    # Panels are narrow, and curves that differ between them leave no place for a legend in all of them: it goes below,
    # as long names do, which would cover the curves.
    broken = [fill(name, _LEGEND_WIDTH if panels is None else _PANEL_LEGEND_WIDTH) for name in names]
    below = panels is not None or max(map(len, names)) > _NAME_BESIDE_CURVES
    room = _LEGEND_LINE * sum(name.count("\n") + 1 for name in set(broken)) if below else 0.0
    figure, axes = new_panels(7.6, 4.5 + room, 1) if panels is None else new_panels(6.2, 4.6 + room, len(shown))
    legend_at: dict[str, Any] = {"loc": "best", "frameon": True, "framealpha": 0.9, "edgecolor": "none"}
    if below:
        legend_at = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13 * 4.5 / (4.5 + room)), "frameon": False}
    looks = {name: number for number, name in enumerate(dict.fromkeys(names))}
    ranges: list[tuple[float, float]] = []
    places: set[float] = set()
    for place, value in zip(axes, shown, strict=True):
        for summary, name, label in zip(summaries, names, broken, strict=True):
            if panels is None or summary[panels] == value:
                _draw_run(place, summary, label, looks[name], against, ranges, places)
        if place.lines:
            legend = place.legend(**legend_at, fontsize=9)
            for text in legend.get_texts():
                text.set_parse_math(False)
    merged = "lines: after each merge (without merges: after training); diamonds: the saved models"
    for place, value in zip(axes, shown, strict=True):
        if against == "bytes":
            megabytes_axis(place)
            percent_axis(place, ranges)
        else:
            accuracy_axes(place, [int(number) for number in sorted(places)] or [0], ranges)
        title(figure, place, common or "several runs", merged if panels is None else _fact(panels, value))
    if panels is not None:
        figure.supxlabel(merged, fontsize=9.5)
    for place in axes[1:]:
        place.set_ylabel("")
    save(figure, path)


def _draw_run(
    axes: "Axes",
    summary: Mapping[str, Any],
    name: str,
    look: int,
    against: Against,
    ranges: list[tuple[float, float]],
    places: set[float],
) -> None:
    """Draw one run; add what it covers to ``ranges`` (percent) and ``places`` (rounds or megabytes)."""
    after_merge = any(entry["accuracy_after_merge"] is not None for entry in summary["rounds"])
    key = "accuracy_after_merge" if after_merge else "accuracy_after_training"  # peers that never merge only train
    sent = np.cumsum([entry["bytes"] for entry in summary["rounds"]]) / 1e6
    at = [entry["round"] for entry in summary["rounds"]] if against == "rounds" else sent.tolist()
    points = [
        (x, entry[key], entry[f"{key}_spread"])
        for x, entry in zip(at, summary["rounds"], strict=True)
        if entry[key] is not None and (against == "rounds" or x > 0)
    ]
    if not points:
        return
    colour, (marker, line) = _COLOURS[look % len(_COLOURS)], _STYLES[look % len(_STYLES)]
    x, mean, spread = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    low, high = np.clip(mean - spread, 0, 100), np.clip(mean + spread, 0, 100)
    axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
    axes.plot(x, mean, line, color=colour, linewidth=2.0, markersize=4.5, label=f"{name}: {percent(summary)}",
              marker=marker if len(x) <= _MANY_ROUNDS else None)  # fmt: skip
    ranges.append((float(low.min()), float(high.max())))
    places |= set(x)
    if summary["final_accuracy"] is not None:
        axes.plot(x[-1], summary["final_accuracy"], "D", color=colour, markerfacecolor="white", markersize=6.5,
                  markeredgewidth=1.8, zorder=5)  # fmt: skip
        ranges.append((summary["final_accuracy"], summary["final_accuracy"]))


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
