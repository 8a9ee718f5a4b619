"""How a sweep's settings are spread over panels and curves, alike in figures and page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dimat_flwr.records.sweep.read import SEED, Scalar, Sweep
from dimat_flwr.records.sweep.settings import Setting, settings_of
from dimat_flwr.records.sweep.table import plain_key, told

_MOST_CURVES = 10  # of an axis that becomes curves
_APART = 8  # times as many rounds


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: the values that are the same in it; empty for a single one.
        curves: (number of its look, name, setting); a name has the same look in all panels.
    """

    title: str
    curves: Sequence[tuple[int, str, Setting]]


def panels_of(sweep: Sweep, without: str | None = None) -> list[Panel]:
    """Return a sweep's panels: a curve per algorithm, a panel per combination of the other axes.

    Where the algorithm is no axis, the first axis of words has its place.

    Args:
        sweep: which.
        without: an axis that is neither, because it is drawn against; its settings are then one after the other in the
            same curve.
    """
    axes = [key for key in sweep.axes if key not in (SEED, without)]
    few = [key for key in axes if len(sweep.axes[key]) <= _MOST_CURVES]
    words = [key for key in few if not all(is_number(value) for value in sweep.axes[key])]
    curves_by = next((key for key in words if key == "algorithm"), next(iter([*words, *few]), None))
    names = [told(value) for value in sweep.axes[curves_by]] if curves_by else [""]
    found: dict[str, list[tuple[int, str, Setting]]] = {}
    for setting in settings_of(sweep):
        others = [f"{plain_key(key)} {told(setting.values[key])}" for key in axes if key != curves_by]
        value = told(setting.values[curves_by]) if curves_by else ""
        name = value if curves_by == "algorithm" else f"{plain_key(curves_by)} {value}" if curves_by else sweep.name
        found.setdefault(" · ".join(others), []).append((names.index(value), name, setting))
    return [Panel(title, curves) for title, curves in found.items()]


def numeric_axes(sweep: Sweep) -> list[str]:
    """Return the axes of at least three numbers, the seed aside: a figure can be drawn against them."""
    return [
        key for key, values in sweep.axes.items()
        if key != SEED and len(values) >= 3 and all(is_number(value) for value in values)
    ]  # fmt: skip


def points_over(
    panel: Panel, key: str, metric: str
) -> Iterator[tuple[int, str, tuple[float, ...], tuple[float, ...], tuple[float, ...]]]:
    """Yield a panel's curves over an axis of numbers: the number of its look, name, places, means and std (0: unknown).

    Settings without a completed cell have no point, and a curve without any point is left out.
    """
    for number, name in dict.fromkeys((number, name) for number, name, _ in panel.curves):
        found = []
        for _, other, setting in panel.curves:
            measured, at = setting.measured(metric), setting.values[key]
            if other == name and measured.mean is not None and isinstance(at, int | float):
                found.append((float(at), measured.mean, measured.std or 0.0))
        if found:
            x, mean, std = zip(*sorted(found), strict=True)
            yield number, name, x, mean, std


def lie_apart(panels: Sequence[Panel]) -> bool:
    """Whether the shortest of the curves over rounds would be a stroke at the margin of an axis of equal steps."""
    last = [curve.rounds[-1] for panel in panels for _, _, setting in panel.curves if (curve := setting.curve())]
    return max(last, default=0) > _APART * min(last, default=0)


def span_of(panels: Sequence[Panel]) -> tuple[float, float] | None:
    """Return the lowest and the highest accuracy of all curves, with their spread; None without any."""
    curves = [curve for panel in panels for _, _, setting in panel.curves if (curve := setting.curve())]
    means = np.concatenate([curve.mean for curve in curves]) if curves else np.zeros(0)
    halves = np.concatenate([np.nan_to_num(curve.std) for curve in curves]) if curves else np.zeros(0)
    return (float((means - halves).min()), float((means + halves).max())) if len(means) else None


def is_number(value: Scalar) -> bool:
    """Whether a value of an axis is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
