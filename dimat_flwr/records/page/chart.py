"""What the pages' script draws, as values that become JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_POINTS = 200  # of a curve: more than the page has room for

Figures = NDArray[np.float64] | Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Series:
    """One curve.

    Attributes:
        name: of the curve; in the legend, unless it has a ``group``, which stands there for all of its curves.
        y: (points,), NaN or None where nothing is known: the line is broken there.
        spread: (points,) half the height of the band around it; None for no band.
        own: axis -> (points,), where its own places differ from the chart's ``x``.
        x: which of the chart's places it has.
        at: (points,) which of these places its points have, ascending; None: all. Those between them break
            no line.
        colour: a number of a colour, or ``ink`` or ``faint``.
        dash: 0 (solid) to 3.
        width: of the line, pixels.
        opacity: of the line, where it is to stand back; 0: it is not.
        points: "alone" for marks without a line between them, "" for a line.
        group: see ``name``.
        legend: what the legend says in place of the name.
        remarks: number of a point -> what is said behind its value.
    """

    name: str
    y: Figures
    spread: Figures | None = None
    own: Mapping[str, Figures] = field(default_factory=dict)
    x: int = 0
    at: Sequence[int] | None = None
    colour: int | str = "ink"
    dash: int = 0
    width: float = 2.0
    opacity: float = 0.0
    points: str = ""
    group: str = ""
    legend: str = ""
    remarks: Mapping[int, str] = field(default_factory=dict)

    def to_json(self, digits: int, bounds: tuple[float, float] | None) -> dict[str, Any]:
        """Return what the script reads, figures with so many digits behind the point."""
        mean = np.array(self.y, dtype=float)
        found: dict[str, Any] = {
            "name": self.name, "y": plain(mean, digits), "x": self.x, "colour": self.colour, "width": self.width,
        }  # fmt: skip
        if self.spread is not None:
            half = np.nan_to_num(np.array(self.spread, dtype=float))
            low, high = mean - half, mean + half
            if bounds:
                low, high = np.clip(low, *bounds), np.clip(high, *bounds)
            found |= {"lo": plain(low, digits), "hi": plain(high, digits)}
        if self.at is not None:
            found["at"] = list(self.at)
        if self.own:
            found["own"] = {axis: plain(places, 3) for axis, places in self.own.items()}
        shown: dict[str, Any] = {
            "dash": self.dash, "opacity": self.opacity, "points": self.points, "group": self.group,
        }  # fmt: skip
        shown |= {"legend": self.legend, "remarks": {str(point): words for point, words in self.remarks.items()}}
        return found | {key: value for key, value in shown.items() if value}


@dataclass(frozen=True, kw_only=True)
class View:
    """One measure that a chart can show.

    Attributes:
        key: of it, in the script.
        name: in the choice of measures.
        label: of the vertical axis, with its unit.
        series: its curves; a later one is drawn above.
        digits: behind the point.
        bounds: what the measure cannot pass.
        least: what the vertical axis spans at least, so that noise does not fill the page.
        span: (lowest, highest) that the vertical axis shows in any case, so that charts side by side can be compared.
        zero: whether zero is shown, and figures above it have a sign.
        marks: rounds to mark by a vertical line.
    """

    key: str
    name: str
    label: str
    series: Sequence[Series]
    digits: int = 2
    bounds: tuple[float, float] | None = None
    least: float = 0.0
    span: tuple[float, float] | None = None
    zero: bool = False
    marks: Sequence[int] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what the script reads."""
        return {
            "key": self.key, "name": self.name, "y": self.label, "digits": self.digits, "zero": self.zero,
            "bounds": self.bounds, "least": self.least, "span": self.span, "marks": list(self.marks),
            "series": [series.to_json(self.digits, self.bounds) for series in self.series],
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What a chart can be drawn against.

    Attributes:
        key: of it, in the script.
        name: in the choice of axes, and before a value.
        unit: behind a value.
        whole: whether it has whole numbers only.
        log: whether a factor of ten is a step of the same length everywhere; what is 0 then stands at the left end.
    """

    key: str
    name: str
    label: str
    unit: str = ""
    whole: bool = False
    log: bool = False


def lines_chart(
    identity: str, axes: Sequence[Axis], places: Sequence[Mapping[str, Figures]], views: Sequence[View]
) -> dict[str, Any]:
    """Return a chart of curves.

    Args:
        identity: of the element that it goes into.
        axes: what it can be drawn against.
        places: axis -> (points,); ``Series.x`` says which of these a curve has.
        views: what it can show.
    """
    return {
        "kind": "lines",
        "id": identity,
        "axes": [vars(axis) for axis in axes],
        "xs": [{axis: plain(values, 4) for axis, values in place.items()} for place in places],
        "views": [view.to_json() for view in views],
    }


def thinned(count: int, most: int = _MOST_POINTS) -> NDArray[np.int64]:
    """Return which of so many points are drawn: evenly many, with the first and the last."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))


def plain(values: Figures, digits: int) -> list[float | None]:
    """Return numbers as JSON has them, rounded; None for what is not finite."""
    found = np.array(values, dtype=float)
    known = np.isfinite(found).tolist()
    return [value if told else None for value, told in zip(found.round(digits).tolist(), known, strict=True)]


def scaled_seconds(longest: float) -> tuple[float, str]:
    """Return by what to divide seconds, and the unit that they have then."""
    return (1.0, "s") if longest < 300 else (60.0, "min") if longest < 3 * 3600 else (3600.0, "h")


def scaled_bytes(most: float) -> tuple[float, str]:
    """Return by what to divide bytes, and the unit that they have then."""
    return next(((size, unit) for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if most >= size), (1.0, "B"))
