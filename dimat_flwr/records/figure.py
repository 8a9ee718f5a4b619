"""The look that the plots of a run share."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dimat_flwr.records.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID = "#222222", "#6b6b6b", "#e6e6e6"
HEALTHY, LOST = "#00798c", "#d1495b"


def new_figure(width: float, height: float) -> tuple["Figure", "Axes"]:
    """Return an empty figure of so many inches, which needs no screen, and its axes."""
    figure, (axes,) = new_panels(width, height, 1)
    return figure, axes


def new_panels(width: float, height: float, count: int) -> tuple["Figure", list["Axes"]]:
    """Return an empty figure and its axes side by side, each so many inches, with one vertical scale."""
    return new_grid(width, height, 1, count, sharey=True)


def new_grid(
    width: float, height: float, rows: int, columns: int, *, sharey: bool = False
) -> tuple["Figure", list["Axes"]]:
    """Return an empty figure and its axes in rows, each so many inches; ``sharey``: with one vertical scale."""
    # Imported here: it takes half a second, and not every run draws.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, sharey=sharey, squeeze=False).flat)


def title(figure: "Figure", axes: "Axes", text: str, below: str = "") -> None:
    """Write a title, and a smaller line below it, as they are: a dollar sign starts no formula."""
    figure.suptitle(text, fontsize=12.5, color=INK, parse_math=False)
    if below:
        axes.set_title(below, fontsize=9.5, color=FAINT, parse_math=False)


def accuracy_axes(axes: "Axes", rounds: Sequence[int], ranges: Sequence[tuple[float, float]]) -> None:
    """Label axes of percent over rounds and fit them to what was drawn.

    Args:
        axes: what to label.
        rounds: all that the axis shall show.
        ranges: (lowest, highest) of everything drawn, in percent.
    """
    from matplotlib.ticker import MaxNLocator

    if ranges:
        beside = 0.03 * (max(rounds) - min(rounds)) or 0.5
        axes.set_xlim(min(rounds) - beside, max(rounds) + beside)
    axes.set_xlabel("round", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    percent_axis(axes, ranges)


def megabytes_axis(axes: "Axes") -> None:
    """Label a horizontal axis of megabytes; see ``factors_axis``."""
    factors_axis(axes)
    axes.set_xlabel("sent by all peers together (MB)", color=INK)


def factors_axis(axes: "Axes", *, whole: bool = False) -> None:
    """Make a factor of ten a step of the same length everywhere on the horizontal axis of what has been drawn.

    What lies at 0, where no such axis reaches, stands at its left end. ``whole``: nothing is named between whole
    numbers.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    x = np.concatenate([np.asarray(line.get_xdata(), dtype=float) for line in axes.lines] or [np.ones(1)])
    some = x[x > 0] if (x > 0).any() else np.ones(1)
    low, high = float(some.min()), float(some.max())
    if (x <= 0).any():
        axes.set_xscale("symlog", linthresh=low, linscale=0.35)
        axes.set_xlim(-0.15 * low, high * 1.25)
    else:
        margin = (high / low) ** 0.04 if high > low else 2.0
        axes.set_xscale("log")
        axes.set_xlim(low / margin, high * margin)
    # Between near ends there may be no power of ten, nor twice or five times one.
    ticks = LogLocator(subs=_steps(high / low)) if high / low >= 5 else MaxNLocator(5, integer=whole)
    named = [value for value in ticks.tick_values(low, high) if 0.999 * low <= value <= 1.001 * high]
    named = [value for value in named if not whole or value % 1 == 0]
    nought = [0.0] if (x <= 0).any() else []
    axes.set_xticks(nought + (named if high > low and named else [float(f"{low:.3g}")]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _steps(factor: float) -> tuple[float, ...]:
    """Return which multiples of powers of ten are named between two values that are so many times apart."""
    return (1.0, 2.0, 5.0) if factor < 300 else (1.0, 3.0) if factor < 30_000 else (1.0,)


def percent_axis(axes: "Axes", ranges: Sequence[tuple[float, float]]) -> None:
    """Label the vertical axis, of accuracies in percent, and fit it to what was drawn; see ``accuracy_axes``."""
    if ranges:
        lowest, highest = min(low for low, _ in ranges), max(high for _, high in ranges)
        margin = max(1.0, 0.06 * (highest - lowest))
        axes.set_ylim(max(0.0, lowest - margin), min(101.0, highest + margin))
    else:
        axes.text(0.5, 0.5, "no accuracy was reported", ha="center", va="center", transform=axes.transAxes, color=FAINT)
        axes.set_ylim(0, 100)
    axes.set_ylabel("test accuracy (%), mean ± std over peers", color=INK)
    axes.grid(visible=True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=FAINT, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bbbbbb")


def save(figure: "Figure", path: Path) -> None:
    """Write the figure as what its name ends with, .png or .svg, whole or not at all; the same each time."""
    from matplotlib import rc_context

    image, kind = io.BytesIO(), path.suffix.removeprefix(".")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": path.name}):
        figure.savefig(image, format=kind, metadata={"Date": None} if kind == "svg" else None)
    replace_file(path, image.getvalue())


def run_title(summary: dict[str, Any]) -> str:
    """Return what to call a run: its algorithm, topology, data set and number of peers."""
    parts = [str(summary[key]) for key in ("algorithm", "topology", "dataset") if summary.get(key) is not None]
    if summary.get("peers") is not None:
        parts.append(f"{summary['peers']} peers")
    return " · ".join(parts) or "a run without a name"
