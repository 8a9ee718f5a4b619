"""The plot of a run's accuracy over its rounds."""

from pathlib import Path
from typing import Any

import numpy as np

# (stage, label, colour, line style, marker, width): before and after the merge are the two lines to compare. What is
# measured after training is what the next round starts from, so it is drawn only where no round merged.
_LINES = (
    ("before_merge", "before merge", "#d1495b", "--", "s", 1.8),
    ("after_merge", "after merge", "#00798c", "-", "o", 2.4),
    ("after_training", "after training", "#8a8a8a", ":", "^", 1.4),
)
_MANY_ROUNDS = 40  # above this, markers would hide the lines


def plot_accuracy(summary: dict[str, Any], path: Path) -> None:
    """Draw mean accuracy and spread over the peers, one line per stage, as a PNG.

    Args:
        summary: see ``dimat_flwr.records.summary.summarize``.
        path: the file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported late: slow, and not every run draws
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rounds = summary["rounds"]
    drawn: list[tuple[float, float]] = []
    for stage, label, colour, style, marker, width in _LINES:
        if stage == "after_training" and drawn:
            continue
        points = [
            (entry["round"], entry[f"accuracy_{stage}"], entry[f"accuracy_{stage}_spread"])
            for entry in rounds
            if entry[f"accuracy_{stage}"] is not None
        ]
        if not points:
            continue
        x, mean, spread = (np.array(column, dtype=float) for column in zip(*points, strict=True))
        low, high = np.clip(mean - spread, 0, 100), np.clip(mean + spread, 0, 100)
        axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(
            x,
            mean,
            style,
            color=colour,
            linewidth=width,
            marker=marker if len(x) <= _MANY_ROUNDS else None,
            markersize=4.5,
            label=f"{label} (last {mean[-1]:.1f} %)",
        )
        drawn.append((float(low.min()), float(high.max())))
    if drawn:
        lowest, highest = min(low for low, _ in drawn), max(high for _, high in drawn)
        margin = max(1.0, 0.06 * (highest - lowest))
        axes.set_ylim(max(0.0, lowest - margin), min(101.0, highest + margin))
        first, last = min(entry["round"] for entry in rounds), max(entry["round"] for entry in rounds)
        beside = 0.03 * (last - first) or 0.5
        axes.set_xlim(first - beside, last + beside)  # the whole run, also the rounds that reported nothing
        axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none")
    else:
        axes.text(
            0.5, 0.5, "no accuracy was reported", ha="center", va="center", transform=axes.transAxes, color="#666"
        )
        axes.set_ylim(0, 100)
    axes.set_title(_title(summary), fontsize=12)
    axes.set_xlabel("round")
    axes.set_ylabel("accuracy (%): mean ± std over peers")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def _title(summary: dict[str, Any]) -> str:
    parts = [str(summary[key]) for key in ("algorithm", "topology", "dataset") if summary.get(key) is not None]
    if summary.get("peers") is not None:
        parts.append(f"{summary['peers']} peers")
    return " · ".join(parts) or "a run without a name"
