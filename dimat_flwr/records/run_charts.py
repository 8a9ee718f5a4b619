"""The curves of one run: how good its peers' models are, and what merging brings, round by round."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimat_flwr.records.page.chart import Axis, Series, View, lines_chart, scaled_bytes, scaled_seconds, thinned
from dimat_flwr.records.timeline import Timeline
from dimat_flwr.records.totals import Totals

MOST_CURVES = 200  # of peers; of more peers the first ones are drawn, means are over all
_FEW_PEERS = 14  # above this, a colour each cannot be told apart
_ACCURACY, _LOSS = (0.0, 100.0), (0.0, float("inf"))
_STAGES = {"after_merge": ("mean after merge", 0, 2.8), "after_training": ("mean after training", 1, 1.9)}

Table = NDArray[np.float64]  # (rounds, peers), NaN where a peer told nothing
Counts = NDArray[np.int64]  # (rounds,) peers that told something


class RunCurves:
    """What is drawn of a run against its rounds, its bytes and its time.

    Attributes:
        drawn: how many rounds are drawn, of all that there are.
        left_out: how many peers have no curve of their own.
    """

    def __init__(self, summary: Mapping[str, Any], totals: Totals, timeline: Timeline) -> None:
        """Take what a run has told so far; see ``summarize`` for the summary."""
        self._summary, self._rounds = summary, summary["rounds"]
        self._numbers = [entry["round"] for entry in self._rounds]
        self._peers = min(summary["peers"] or totals.peers(), MOST_CURVES)
        self.left_out = max(0, (summary["peers"] or 0) - self._peers)
        self._totals = totals
        self._kept = self._chosen()
        self.drawn = len(self._kept)
        self._told = timeline.told(self._numbers, summary["peers"] or self._peers)
        longest = float(np.nanmax(self._told)) if np.isfinite(self._told).any() else 0.0
        self._per, unit = scaled_seconds(longest)
        sent = np.cumsum([entry["bytes"] for entry in self._rounds])
        size, of_bytes = scaled_bytes(float(sent[-1]) if len(sent) else 0.0)
        self._axes = [
            Axis(key="rounds", name="round", label="round", whole=True),
            Axis(key="bytes", name="bytes", label=f"sent by all peers together ({of_bytes})", unit=of_bytes),
        ]
        self._places: dict[str, Any] = {"rounds": np.array(self._numbers)[self._kept], "bytes": sent[self._kept] / size}
        if longest:
            self._axes.append(Axis(key="seconds", name="time", label=f"time since the run began ({unit})", unit=unit))
            self._places["seconds"] = _latest(self._told)[self._kept] / self._per

    def quality(self) -> dict[str, Any] | None:
        """Return accuracies and losses, peer by peer and as means; None where no peer told any."""
        views = [
            self._view("accuracy", "accuracy", "test accuracy (%)", _ACCURACY, tuple(_STAGES)),
            self._view("local_accuracy", "local accuracy", "local accuracy (%)", _ACCURACY, tuple(_STAGES)),
            self._view("loss", "test loss", "test loss (mean per sample)", None, tuple(_STAGES)),
            self._training_loss(),
        ]
        if all(self._has(f"accuracy_{stage}") for stage in _STAGES):
            trained = self._view(
                "accuracy", "accuracy after training", "test accuracy (%)", _ACCURACY, ("after_training",)
            )
            views.insert(1, trained)
        return self._chart("quality", [view for view in views if view])

    def gain(self) -> dict[str, Any] | None:
        """Return what each merge brought: after it, less after the training of the round before; None: not told."""
        views = []
        for measure, name, label in (
            ("accuracy", "accuracy", "gain in test accuracy (points)"),
            ("loss", "test loss", "change of test loss"),
        ):
            after, before = (self._table(f"{measure}_{stage}", whole=True) for stage in _STAGES)
            consecutive = np.diff(self._numbers, prepend=-2) == 1
            change = after - np.vstack([np.full((1, after.shape[1]), np.nan), before])[: len(after)]
            change[~consecutive] = np.nan
            if np.isfinite(change).any():
                mean, spread = _mean_and_spread(change)
                count = np.isfinite(change).sum(axis=1)
                series = [*self._each(change), self._mean("mean over peers", mean, spread, count)]
                views.append(View(key=measure, name=name, label=label, series=series, zero=True))
        return self._chart("gain", views)

    def units_moved(self) -> dict[str, Any] | None:
        """Return the share of units that aligning moved; None in a run that aligns nothing."""
        shares = np.array([_nan(entry.get("units_moved")) for entry in self._rounds])[self._kept]
        if not np.isfinite(shares).any():
            return None
        series = [self._curve("mean over all alignments", 100 * shares, width=2.4)]
        label = "units that changed places (%)"
        view = View(key="moved", name="units moved", label=label, series=series, bounds=_ACCURACY, least=10)
        return self._chart("moved", [view])

    def groups_moved(self) -> dict[str, Any] | None:
        """Return the share of units moved per permutation group; None where no instrument told it."""
        told = [
            (entry["round"], entry["observed"]["units_moved"])
            for entry in self._rounds
            if "units_moved" in entry["observed"]
        ]
        if not told:
            return None
        told = [told[k] for k in thinned(len(told), 100)]
        groups = list(dict.fromkeys(group for _, found in told for group in found))[:60]
        return {
            "kind": "shares",
            "id": "groups",
            "label": "share of units moved, per permutation group and round",
            "rows": groups,
            "columns": [number for number, _ in told],
            "values": [[found.get(group) for _, found in told] for group in groups],
        }

    def _view(
        self, measure: str, name: str, label: str, bounds: tuple[float, float] | None, stages: Sequence[str]
    ) -> View | None:
        found = [stage for stage in stages if self._has(f"{measure}_{stage}")]
        if not found:
            return None
        series = self._each(self._table(f"{measure}_{found[0]}"))
        for stage in reversed(found):
            words, dash, width = _STAGES[stage]
            key = f"{measure}_{stage}"
            series.append(self._mean_of(words, key, dash, width))
        mean = [_nan(entry["observed"].get(f"counterfactual_{measure}")) for entry in self._rounds]
        if np.isfinite(mean).any() and len(stages) > 1:
            spread = [_nan(entry["observed"].get(f"counterfactual_{measure}_spread")) for entry in self._rounds]
            series.append(self._mean("mean of all models, not applied", np.array(mean), np.array(spread), dash=2))
        final = self._summary["final_accuracy"]
        if measure == "accuracy" and final is not None:
            spread = self._summary["final_accuracy_spread"]
            series.append(Series(name="saved models", y=[final], spread=[spread], x=1, points="alone"))
        return View(
            key=name.replace(" ", "_"), name=name, label=label, series=series, bounds=bounds,
            digits=2 if bounds else 4, least=2.0 if bounds else 0.0,
            marks=sorted(set(self._summary["lost_peers"].values())),
        )  # fmt: skip

    def _training_loss(self) -> View | None:
        if not self._has("loss"):
            return None
        series = [*self._each(self._table("loss")), self._mean_of("mean", "loss")]
        label = "training loss (mean per sample)"
        return View(key="training_loss", name="training loss", label=label, series=series, digits=4)

    def _each(self, table: Table) -> list[Series]:
        """Return a curve per peer, over the time at which it told it; broken where others told something and it not."""
        few, curves = self._peers <= _FEW_PEERS, []
        at = np.flatnonzero(np.isfinite(table[self._kept]).any(axis=1))
        for peer in range(min(self._peers, table.shape[1])):
            y = table[self._kept, peer]
            if not np.isfinite(y).any():
                continue
            own = {"seconds": self._told[self._kept, peer][at] / self._per} if "seconds" in self._places else {}
            look: dict[str, Any] = {"colour": peer % 7, "dash": peer // 7, "width": 1.5}
            if not few:  # many lines over each other must not become a solid block
                opacity = round(min(0.5, max(0.1, 15 / self._peers)), 2)
                look = {"colour": "faint", "width": 1.0, "opacity": opacity, "group": "each peer"}
            curves.append(Series(name=f"peer {peer}", y=y[at], at=at.tolist(), own=own, **look))
        return curves

    def _mean_of(self, name: str, key: str, dash: int = 0, width: float = 2.8) -> Series:
        return self._mean(name, self._row(key), self._row(f"{key}_spread"), self._totals.reported(key), dash, width)

    def _mean(
        self, name: str, mean: Table, spread: Table, count: Counts | None = None, dash: int = 0, width: float = 2.8
    ) -> Series:
        """Return a curve of means; where they are over fewer than all peers (``count``), it says so."""
        peers = self._summary["peers"] or 0
        said = {} if count is None else {
            k: f"{n} of {peers} peers" for k, n in enumerate(count[self._kept].tolist()) if 0 < n < peers
        }  # fmt: skip
        legend = f"{name} ± std"
        return self._curve(name, mean[self._kept], spread[self._kept], said, dash=dash, width=width, legend=legend)

    def _curve(
        self, name: str, y: Table, spread: Table | None = None, said: Mapping[int, str] | None = None, **look: Any
    ) -> Series:
        """Return a curve over those of the rounds that are drawn for which something is known, unbroken."""
        at = np.flatnonzero(np.isfinite(y))
        remarks = {number: said[k] for number, k in enumerate(at.tolist()) if k in said} if said else {}
        spread = None if spread is None else spread[at]
        return Series(name=name, y=y[at], spread=spread, at=at.tolist(), remarks=remarks, **look)

    def _chosen(self) -> NDArray[np.int64]:
        """Return which rounds are drawn: evenly many, and of those that were evaluated, as these may be few."""
        evaluated = np.flatnonzero(
            [any(entry[f"{measure}_{stage}"] is not None for measure in ("accuracy", "loss") for stage in _STAGES)
             for entry in self._rounds]
        )  # fmt: skip
        chosen: NDArray[np.int64] = np.union1d(thinned(len(self._rounds)), evaluated[thinned(len(evaluated))])
        return chosen.astype(np.int64)

    def _chart(self, identity: str, views: Sequence[View]) -> dict[str, Any] | None:
        if not views:
            return None
        last = {axis: places[-1:] for axis, places in self._places.items()}
        return lines_chart(identity, self._axes, [self._places, last], views)

    def _has(self, key: str) -> bool:
        return any(entry[key] is not None for entry in self._rounds)

    def _row(self, key: str) -> Table:
        return np.array([_nan(entry[key]) for entry in self._rounds])

    def _table(self, column: str, *, whole: bool = False) -> Table:
        return self._totals.by_peer(column, None if whole else self._peers)


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _latest(told: Table) -> Table:
    """Return when a round was over for the last peer: (rounds,), NaN where for none."""
    if not told.shape[1]:
        return np.full(len(told), np.nan)
    latest: Table = np.max(np.where(np.isnan(told), -np.inf, told), axis=1)
    return np.where(np.isfinite(latest), latest, np.nan)


def _mean_and_spread(table: Table) -> tuple[Table, Table]:
    """Return mean and standard deviation over the peers that told something: (rounds,) each, NaN where none did."""
    known = np.isfinite(table)
    count = np.where(known.any(axis=1), known.sum(axis=1), np.nan)
    mean = np.where(known, table, 0).sum(axis=1) / count
    spread = np.sqrt(np.where(known, (table - mean[:, None]) ** 2, 0).sum(axis=1) / count)
    return mean, spread
