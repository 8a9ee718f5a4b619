"""How a sweep's settings are spread over panels and curves, alike in figures and page."""

from collections.abc import Sequence
from dataclasses import dataclass

from dimat_flwr.records.sweep.read import SEED, Scalar, Sweep
from dimat_flwr.records.sweep.settings import Setting, settings_of
from dimat_flwr.records.sweep.table import plain_key, told

_MOST_CURVES = 10  # of an axis that becomes curves


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
    """Return a sweep's panels: a curve per value of its first axis of words, a panel per combination of the others.

    Args:
        sweep: which.
        without: an axis that is neither, because it is drawn against; its settings are then one after the other in the
            same curve.
    """
    axes = [key for key in sweep.axes if key not in (SEED, without)]
    few = [key for key in axes if len(sweep.axes[key]) <= _MOST_CURVES]
    words = [key for key in few if not all(is_number(value) for value in sweep.axes[key])]
    curves_by = next(iter([*words, *few]), None)
    names = [told(value) for value in sweep.axes[curves_by]] if curves_by else [""]
    found: dict[str, list[tuple[int, str, Setting]]] = {}
    for setting in settings_of(sweep):
        others = [f"{plain_key(key)} {told(setting.values[key])}" for key in axes if key != curves_by]
        name = told(setting.values[curves_by]) if curves_by else ""
        found.setdefault(" · ".join(others), []).append((names.index(name), name or sweep.name, setting))
    return [Panel(title, curves) for title, curves in found.items()]


def numeric_axes(sweep: Sweep) -> list[str]:
    """Return the axes of at least three numbers, the seed aside: a figure can be drawn against them."""
    return [
        key for key, values in sweep.axes.items()
        if key != SEED and len(values) >= 3 and all(is_number(value) for value in values)
    ]  # fmt: skip


def is_number(value: Scalar) -> bool:
    """Whether a value of an axis is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
