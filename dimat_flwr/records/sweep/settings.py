"""The cells of a sweep that differ in their seed alone, taken together."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dimat_flwr.records.sweep.read import SEED, Cell, PaperValue, Scalar, Sweep

Mark = Literal["above", "within", "below"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One figure over the seeds that completed.

    Attributes:
        mean: over the seeds; None where no cell has it.
        std: sample standard deviation (n - 1); None for fewer than two.
        n: how many cells it is over.
        paper: what the paper says, where it says something.
    """

    mean: float | None
    std: float | None
    n: int
    paper: PaperValue | None

    @property
    def difference(self) -> float | None:
        """Ours less the paper's."""
        known = self.mean is not None and self.paper is not None and self.paper.value is not None
        return self.mean - self.paper.value if known else None  # type: ignore[operator,union-attr]

    @property
    def mark(self) -> Mark | None:
        """Whether the difference is above, within or below the spread: our std over seeds and the paper's together.

        Where nobody knows a spread, its sign decides.
        """
        if self.difference is None or self.paper is None:
            return None
        spread = math.hypot(self.std or 0.0, self.paper.std or 0.0)
        if abs(self.difference) <= spread:
            return "within"
        return "above" if self.difference > 0 else "below"


@dataclass(frozen=True)
class Curve:
    """Accuracy over the rounds that all completed seeds evaluated, as means over these seeds.

    Attributes:
        rounds: (points,).
        sent: (points,) bytes of all peers until then.
        seconds: (points,) until the last peer was done, NaN where a seed has no timeline.
        mean: (points,) percent.
        std: (points,) sample standard deviation over the seeds, NaN for one seed.
        n: how many seeds.
    """

    rounds: list[int]
    sent: list[float]
    seconds: list[float]
    mean: list[float]
    std: list[float]
    n: int


@dataclass(frozen=True)
class Setting:
    """What a sweep tried, whatever the seed.

    Attributes:
        values: key -> value, of the axes but the seed.
        cells: one for each seed.
        paper: what a paper says of it.
    """

    values: Mapping[str, Scalar]
    cells: Sequence[Cell]
    paper: Sequence[PaperValue]

    def measured(self, metric: str) -> Measured:
        """Return a figure over the cells that completed; of the others nothing enters it."""
        found = [value for cell in self.cells if (value := cell.measured(metric)) is not None]
        mean = float(np.mean(found)) if found else None
        std = float(np.std(found, ddof=1)) if len(found) > 1 else None
        said = next((entry for entry in self.paper if entry.metric == metric), None)
        return Measured(mean=mean, std=std, n=len(found), paper=said)

    def standing(self) -> str:
        """Return how many cells completed, and what became of the others."""
        count = Counter(cell.status for cell in self.cells)
        completed = count.pop("completed", 0)
        others = ", ".join(f"{number} {status}" for status, number in sorted(count.items()))
        return f"{completed} of {len(self.cells)}" + (f" ({others})" if others else "")

    def curve(self) -> Curve | None:
        """Return its mean curve; None where no completed seed reported any accuracy."""
        runs = [
            (cell, told) for cell in self.cells if cell.status == "completed" and (told := _accuracies(cell.summary))
        ]
        if not runs:
            return None
        common = sorted(set.intersection(*(set(told) for _, told in runs)))
        values = np.array([[told[number][0] for number in common] for _, told in runs])
        sent = np.array([[told[number][1] for number in common] for _, told in runs])
        seconds = np.array([[cell.times.get(number, math.nan) for number in common] for cell, _ in runs])
        std = values.std(axis=0, ddof=1) if len(runs) > 1 else np.full(len(common), math.nan)
        sent, seconds, mean = (found.mean(axis=0).tolist() for found in (sent, seconds, values))
        return Curve(common, sent, seconds, mean, std.tolist(), len(runs))


def settings_of(sweep: Sweep) -> list[Setting]:
    """Return a sweep's settings, in the order of their first cells."""
    keys = [key for key in sweep.axes if key != SEED]
    found: dict[str, list[Cell]] = {}
    for cell in sweep.cells:
        found.setdefault(repr([cell.values.get(key) for key in keys]), []).append(cell)
    return [
        Setting(
            {key: cells[0].values.get(key) for key in keys},
            cells,
            [entry for entry in sweep.paper if entry.values.items() <= cells[0].values.items()],
        )
        for cells in found.values()
    ]


def metrics_of(sweep: Sweep) -> list[str]:
    """Return which figures a sweep's table has: the final accuracy, where none has it the loss, and the paper's."""
    accuracy = any(cell.measured("final_accuracy") is not None for cell in sweep.cells)
    loss = any(cell.measured("final_loss") is not None for cell in sweep.cells)
    first = "final_loss" if loss and not accuracy else "final_accuracy"
    return list(dict.fromkeys([first, *beside(settings_of(sweep))]))


def beside(settings: Sequence[Setting]) -> list[str]:
    """Return the figures that a paper has for any of the settings."""
    return list(dict.fromkeys(entry.metric for setting in settings for entry in setting.paper if entry.metric))


def _accuracies(summary: Mapping[str, Any] | None) -> dict[int, tuple[float, float]]:
    """Return round -> (accuracy after its merge, bytes until then); of a run that never merges, after training."""
    if summary is None:
        return {}
    rounds = summary["rounds"]
    merges = any(entry["accuracy_after_merge"] is not None for entry in rounds)
    key = "accuracy_after_merge" if merges else "accuracy_after_training"
    sent = np.cumsum([entry["bytes"] for entry in rounds]).tolist()
    return {
        entry["round"]: (entry[key], count) for entry, count in zip(rounds, sent, strict=True) if entry[key] is not None
    }
