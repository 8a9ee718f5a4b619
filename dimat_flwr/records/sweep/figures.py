"""The figures of a sweep, for print: PNG and SVG, curves that differ in colour, dash and mark."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from dimat_flwr.records.figure import FAINT, GRID, INK, factors_axis, megabytes_axis, new_grid, save
from dimat_flwr.records.sweep.panels import Panel, lie_apart, numeric_axes, panels_of, points_over
from dimat_flwr.records.sweep.read import Sweep
from dimat_flwr.records.sweep.settings import beside, metrics_of, settings_of
from dimat_flwr.records.sweep.table import look, plain_key, subheading

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's, without yellow, which is too faint on paper.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)), (0, (3, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_MOST_PANELS, _MANY_POINTS, _MANY_TICKS = 16, 40, 8
_TITLE = 48  # letters beside each other above a panel
_NOTHING = "no completed cell"

Draw = Callable[["Axes", Panel], None]


def draw_figures(sweep: Sweep, folder: Path) -> list[Path]:
    """Draw a sweep's figures into a folder, each as .png and .svg, and return their paths.

    ``accuracy-rounds`` and ``accuracy-bytes``: mean over seeds with a band of one standard deviation, over rounds by
    factors where some settings have many times as many as others; ``final-<axis>``: what it came to over an axis of
    numbers; ``paper``: ours beside the paper's, where it says something.

    Raises:
        RecordsError: a file cannot be written.
    """
    panels = panels_of(sweep)
    made = [
        _draw(sweep, folder, "accuracy-rounds", panels, _curves("rounds", by_factors=lie_apart(panels))),
        _draw(sweep, folder, "accuracy-bytes", panels, _curves("bytes", by_factors=True)),
    ]
    for key in numeric_axes(sweep):
        made.append(
            _draw(
                sweep, folder, f"final-{plain_key(key).replace(' ', '_')}", panels_of(sweep, key), _against(sweep, key)
            )
        )
    first = metrics_of(sweep)[0]
    if first in beside(settings_of(sweep)):
        made.append(_draw(sweep, folder, "paper", panels, _beside(first), alike=False))
    return [path for pair in made for path in pair]


def _draw(
    sweep: Sweep, folder: Path, name: str, panels: Sequence[Panel], draw: Draw, *, alike: bool = True
) -> list[Path]:
    """Draw one figure; ``alike``: all of its panels have the same vertical scale, so that they can be compared."""
    shown = panels[:_MOST_PANELS]
    columns = min(len(shown), 2 if len(shown) in (2, 4) else 3 if len(shown) <= 9 and len(shown) != 8 else 4) or 1
    width = 4.6 if columns > 1 else 7.6
    figure, axes = new_grid(width, 3.5 if columns > 1 else 4.6, math.ceil(len(shown) / columns), columns, sharey=alike)
    for place, panel in zip(axes, shown, strict=False):
        draw(place, panel)
        if panel.title:
            place.set_title(_in_lines(panel.title), fontsize=10, color=INK, parse_math=False)
        if not place.has_data():
            place.text(0.5, 0.5, _NOTHING, ha="center", va="center", transform=place.transAxes, color=FAINT)
        place.grid(visible=True, color=GRID, linewidth=0.8)
        place.set_axisbelow(True)
        place.spines[["top", "right"]].set_visible(False)
        place.tick_params(labelcolor=INK, colors=FAINT)
    for spare in axes[len(shown) :]:
        spare.set_axis_off()
    for number, place in enumerate(axes[: len(shown)]):
        if number % columns:
            place.set_ylabel("")
    handles = {
        label: handle for place in axes for handle, label in zip(*place.get_legend_handles_labels(), strict=True)
    }
    if len(handles) > 1:
        fit = max(1, int(width * columns / (0.55 + 0.075 * max(map(len, handles)))))  # inches: handle and letters
        legend = figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside lower center",
            ncols=math.ceil(len(handles) / math.ceil(len(handles) / fit)),
            frameon=False,
            fontsize=9.5,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    left_out = f" ({len(panels) - len(shown)} more panels are in report.html)" if len(panels) > len(shown) else ""
    title = f"{sweep.title or sweep.name}{left_out}\n{subheading(sweep)}"
    figure.suptitle(title, fontsize=11, color=INK, parse_math=False, wrap=True)
    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        save(figure, path)
        figure.set_layout_engine("none")  # found once, it holds for the other kind, too
    return paths


def _in_lines(title: str) -> str:
    """Break what is too long for a panel between its values, not within one."""
    joint = "\N{NO-BREAK SPACE}"
    return fill(title.replace(" ", joint).replace(f"{joint}·{joint}", " · "), _TITLE).replace(joint, " ")


def _style(number: int) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)], "linestyle": _DASHES[number % len(_DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)], "linewidth": 1.8, "markersize": 4.2,
    }  # fmt: skip


def _curves(against: str, *, by_factors: bool) -> Draw:
    def draw(axes: "Axes", panel: Panel) -> None:
        for number, name, setting in panel.curves:
            curve = setting.curve()
            if curve is None:
                continue
            x = np.array(curve.rounds if against == "rounds" else curve.sent, dtype=float)
            x = x if against == "rounds" else x / 1e6
            mean, std = np.array(curve.mean), np.array(curve.std)
            style = _style(number)
            if len(x) > _MANY_POINTS:
                style["marker"] = ""
            if curve.n > 1:
                low, high = np.clip(mean - std, 0, 100), np.clip(mean + std, 0, 100)
                axes.fill_between(x, low, high, color=style["color"], alpha=0.16, linewidth=0)
            axes.plot(x, mean, label=name, **style)
        axes.set_ylabel("test accuracy (%)", color=INK)
        if against == "bytes" and axes.has_data():
            megabytes_axis(axes)
            return
        if by_factors:
            factors_axis(axes, whole=True)
        else:
            _whole_numbers(axes)
        axes.set_xlabel("round", color=INK)

    return draw


def _against(sweep: Sweep, key: str) -> Draw:
    """Draw what a sweep came to over an axis of numbers."""
    metric = metrics_of(sweep)[0]

    def draw(axes: "Axes", panel: Panel) -> None:
        places: set[float] = set()
        for number, name, x, mean, std in points_over(panel, key, metric):
            axes.errorbar(x, mean, yerr=std, capsize=3, label=name, **_style(number))
            places |= set(x)
        if len(places) <= _MANY_TICKS:
            axes.set_xticks(sorted(places))
        axes.set_xlabel(plain_key(key), color=INK)
        axes.set_ylabel(look(metric).name, color=INK)

    return draw


def _beside(metric: str) -> Draw:
    """Draw ours beside the paper's, a row per curve of a panel."""

    def draw(axes: "Axes", panel: Panel) -> None:
        for row, (number, _, setting) in enumerate(panel.curves):
            measured, colour = setting.measured(metric), COLOURS[number % len(COLOURS)]
            if measured.mean is not None:
                axes.errorbar(
                    [measured.mean], [row], xerr=[measured.std or 0.0], fmt="o", color=colour, capsize=3, markersize=6
                )
            if measured.paper is not None and measured.paper.value is not None:
                axes.errorbar([measured.paper.value], [row], xerr=[measured.paper.std or 0.0], fmt="D", color=INK,
                              markerfacecolor="white", markersize=6, capsize=2)  # fmt: skip
        axes.plot([], [], "o", color=FAINT, label="ours, mean ± std over seeds")
        axes.plot([], [], "D", color=INK, markerfacecolor="white", label="the paper's")
        axes.set_yticks(range(len(panel.curves)), [name for _, name, _ in panel.curves], parse_math=False)
        axes.set_ylim(len(panel.curves) - 0.5, -0.5)
        axes.set_xlabel(look(metric).name, color=INK)

    return draw


def _whole_numbers(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
