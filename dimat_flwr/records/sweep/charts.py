"""The charts of a sweep's page: means over seeds with their spread, a panel per combination of what is varied."""

from html import escape
from typing import Any

import numpy as np

from dimat_flwr.records.page.chart import Axis, Series, View, lines_chart, scaled_bytes, scaled_seconds, thinned
from dimat_flwr.records.page.document import figure
from dimat_flwr.records.sweep.panels import Panel, lie_apart, numeric_axes, panels_of, points_over, span_of
from dimat_flwr.records.sweep.read import Sweep
from dimat_flwr.records.sweep.settings import Curve, metrics_of
from dimat_flwr.records.sweep.table import look, plain_key


def sweep_charts(sweep: Sweep) -> tuple[list[dict[str, Any]], str]:
    """Return what the script draws, and the HTML that it draws into."""
    charts, body, panels = [], [], panels_of(sweep)
    span, apart = span_of(panels), lie_apart(panels)
    for number, panel in enumerate(panels):
        chart = _accuracy(f"panel{number}", panel, span, by_factors=apart)
        silent = [name for _, name, setting in panel.curves if setting.curve() is None]
        below = escape(f"Without a completed cell that reported accuracies: {', '.join(silent)}.") if silent else ""
        body.append(f"<div><h3>{escape(panel.title)}</h3>\n{figure(f'panel{number}', below)}</div>\n")
        charts += [chart] if chart else []
    text = (
        '<h2>Accuracy</h2>\n<p class="faint narrow">After each merge (of runs without merges, after training), in '
        "rounds that all completed seeds evaluated: means over the seeds with a band of one standard deviation. Curves "
        f'per peer are in the reports of the cells.</p>\n<div class="panels">{"".join(body)}</div>\n'
    )
    for key in numeric_axes(sweep):
        parts = []
        for number, panel in enumerate(panels_of(sweep, key)):
            identity = f"over-{plain_key(key).replace(' ', '-')}-{number}"
            chart = _against(identity, sweep, key, panel)
            if chart:
                charts.append(chart)
                parts.append(f"<div><h3>{escape(panel.title)}</h3>\n{figure(identity, '')}</div>\n")
        text += (
            f'<h2>Against {escape(plain_key(key))}</h2>\n<div class="panels">{"".join(parts)}</div>\n' if parts else ""
        )
    return charts, text


def _accuracy(
    identity: str, panel: Panel, span: tuple[float, float] | None, *, by_factors: bool
) -> dict[str, Any] | None:
    curves = [(number, name, curve) for number, name, setting in panel.curves if (curve := setting.curve())]
    if not curves:
        return None
    size, of_bytes = scaled_bytes(max(max(curve.sent) for _, _, curve in curves))
    longest = max((value for _, _, curve in curves for value in curve.seconds if np.isfinite(value)), default=0.0)
    per, unit = scaled_seconds(longest)
    axes = [
        Axis(key="rounds", name="round", label="round", whole=True, log=by_factors),
        Axis(key="bytes", name="bytes", label=f"sent by all peers together ({of_bytes})", unit=of_bytes, log=True),
    ]
    axes += [Axis(key="seconds", name="time", label=f"time since the run began ({unit})", unit=unit)] if longest else []
    places: list[dict[str, Any]] = []
    series: list[Series] = []
    for number, name, curve in curves:
        kept = thinned(len(curve.rounds))
        places.append(_places(curve, kept, size, per, timed=bool(longest)))
        spread = np.array(curve.std)[kept] if curve.n > 1 else None
        series.append(
            Series(name=name, y=np.array(curve.mean)[kept], spread=spread, x=len(series), colour=number % 7,
                   dash=number % 5, legend=f"{name} (n = {curve.n})")
        )  # fmt: skip
    view = View(
        key="accuracy", name="accuracy", label="test accuracy (%)", series=series, bounds=(0.0, 100.0), least=2.0,
        span=span,
    )  # fmt: skip
    return lines_chart(identity, axes, places, [view])


def _places(curve: Curve, kept: Any, size: float, per: float, *, timed: bool) -> dict[str, Any]:
    places = {"rounds": np.array(curve.rounds)[kept], "bytes": np.array(curve.sent)[kept] / size}
    return places | ({"seconds": np.array(curve.seconds)[kept] / per} if timed else {})


def _against(identity: str, sweep: Sweep, key: str, panel: Panel) -> dict[str, Any] | None:
    metric = metrics_of(sweep)[0]
    places: list[dict[str, Any]] = []
    series: list[Series] = []
    for number, name, x, mean, std in points_over(panel, key, metric):
        places.append({key: x})
        style: dict[str, Any] = {"colour": number % 7, "dash": number % 5, "points": "too"}
        series.append(Series(name=name, y=mean, spread=std, x=len(series), **style))
    if not series:
        return None
    bounds = (0.0, 100.0) if metric == "final_accuracy" else None
    view = View(key=metric, name=look(metric).name, label=look(metric).name, series=series, bounds=bounds)
    axis = Axis(key=key, name=plain_key(key), label=plain_key(key))
    return lines_chart(identity, [axis], places, [view])
