"""The table of a sweep: a row per setting, mean ± std over seeds, the paper's beside it, the difference marked."""

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dimat_flwr.records.headline import readable_bytes, readable_time
from dimat_flwr.records.sweep.read import SEED, PaperValue, Scalar, Sweep
from dimat_flwr.records.sweep.settings import Mark, Measured, Setting, beside, metrics_of, settings_of

MARKS: Mapping[Mark, str] = {"above": "▲", "within": "≈", "below": "▼"}
_LEGEND = "Mean ± standard deviation (n − 1) over the seeds that completed; other cells enter no figure."
SAID = "What the paper says:"
_BESIDE = (
    " The difference is ours less the paper's: ≈ within the standard deviations of both together, ▲ above, ▼ below."
)


@dataclass(frozen=True)
class _Look:
    name: str
    show: Callable[[float], str]
    gap: Callable[[float], str]


_LOOKS = {
    "final_accuracy": _Look("final accuracy (%)", lambda value: f"{value:.2f}", lambda value: f"{value:+.2f}"),
    "final_loss": _Look("final test loss", lambda value: f"{value:.4f}", lambda value: f"{value:+.4f}"),
    "wall_seconds": _Look("time of the run (s)", lambda value: f"{value:.1f}", lambda value: f"{value:+.1f}"),
    "seconds": _Look("time (s)", lambda value: f"{value:.1f}", lambda value: f"{value:+.1f}"),
}
for _metric, _name in (
    ("gpu_bytes", "GPU memory (GB)"),
    ("memory_bytes", "memory (GB)"),
    ("bytes_total", "relayed (GB)"),
):
    _LOOKS[_metric] = _Look(_name, lambda value: f"{value / 1e9:.3g}", lambda value: f"{value / 1e9:+.3g}")


def look(metric: str) -> _Look:
    """Return how a figure is called and written."""
    return _LOOKS.get(metric) or _Look(
        metric.replace("_", " "), lambda value: f"{value:.4g}", lambda value: f"{value:+.4g}"
    )


@dataclass(frozen=True)
class TableRow:
    """One setting in the table.

    Attributes:
        setting: which.
        cells: column -> text.
        mark: column -> how the difference in it is marked.
    """

    setting: Setting
    cells: Mapping[str, str]
    mark: Mapping[str, Mark]


def table_rows(sweep: Sweep) -> list[TableRow]:
    """Return a sweep's table, a row per setting; all rows have the same columns."""
    settings, metrics = settings_of(sweep), metrics_of(sweep)
    papers = beside(settings)
    rows = []
    for setting in settings:
        cells = {plain_key(key): told(value) for key, value in setting.values.items()}
        cells["cells"] = setting.standing()
        marks: dict[str, Mark] = {}
        for metric in metrics:
            measured, shown = setting.measured(metric), look(metric)
            cells[shown.name] = _mean(measured, shown)
            if metric in papers:
                of = f" of {shown.name}" if len(papers) > 1 else ""
                cells[f"paper's{of}"] = _paper(measured, shown)
                cells[f"difference{of}"] = _difference(measured, shown)
                if measured.mark:
                    marks[f"difference{of}"] = measured.mark
        for metric, name, show in (
            ("bytes_total", "relayed", readable_bytes), ("seconds", "time per cell", readable_time),
            ("memory_bytes", "memory", readable_bytes), ("gpu_bytes", "GPU memory", readable_bytes),
        ):  # fmt: skip
            if metric not in metrics and any(other.measured(metric).n for other in settings):
                mean = setting.measured(metric).mean
                cells[name] = "–" if mean is None else show(mean)
        sources = list(dict.fromkeys(entry.source for entry in setting.paper if entry.metric and entry.source))
        if papers:
            cells["source"] = "; ".join(sources) or "–"
        rows.append(TableRow(setting, cells, marks))
    return rows


def markdown(sweep: Sweep) -> str:
    """Return the table with its heading, as Markdown."""
    rows = table_rows(sweep)
    columns = list(rows[0].cells) if rows else []
    texts = [
        [_escaped(column) for column in columns],
        *([_escaped(row.cells[column]) for column in columns] for row in rows),
    ]
    widths = [max(len(row[k]) for row in texts) for k in range(len(columns))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in texts
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    notes = [f"* {_escaped(note(entry))}" for entry in sweep.paper if entry.text]
    notes = [SAID, "", *notes] if notes else []
    fixed = ", ".join(f"{plain_key(key)} {told(value)}" for key, value in sweep.fixed.items())
    parts = [
        f"# {heading(sweep)}",
        f"    {sweep.command}",
        "\n".join(lines),
        legend(sweep),
        "\n".join(notes),
        _failures(sweep),
    ]
    return (
        "\n\n".join(
            part for part in [*parts[:2], f"The same in all cells: {fixed}." if fixed else "", *parts[2:]] if part
        )
        + "\n"
    )


def as_csv(sweep: Sweep) -> str:
    """Return the table as CSV: figures in full, counts and units of their own."""
    settings, metrics = settings_of(sweep), metrics_of(sweep)
    metrics = list(dict.fromkeys([*metrics, "bytes_total", "seconds", "memory_bytes", "gpu_bytes"]))
    known = [metric for metric in metrics if any(setting.measured(metric).n for setting in settings)] or metrics[:1]
    papers = beside(settings)
    keys = list(settings[0].values) if settings else []
    columns = [*keys, "planned", "completed", "standing"]
    for metric in known:
        kinds = ["mean", "std", "n"] + (
            ["paper", "paper_std", "difference", "mark", "source"] if metric in papers else []
        )
        columns += [f"{metric}_{kind}" for kind in kinds]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for setting in settings:
        row: list[object] = [told(setting.values[key]) for key in keys]
        row += [len(setting.cells), sum(cell.status == "completed" for cell in setting.cells), setting.standing()]
        for metric in known:
            found = setting.measured(metric)
            row += [_figure(found.mean), _figure(found.std), found.n]
            if metric in papers:
                said = found.paper
                row += [_figure(said.value if said else None), _figure(said.std if said else None)]
                row += [_figure(found.difference), found.mark or "", said.source if said else ""]
        writer.writerow(row)
    return file.getvalue()


def note(entry: PaperValue) -> str:
    """Return what a paper, or its code, says of some cells in words."""
    return f"{_matching(entry.values)}{entry.text}" + (f" ({entry.source})" if entry.source else "")


def legend(sweep: Sweep) -> str:
    """Return how the table is to be read."""
    return _LEGEND + (_BESIDE if beside(settings_of(sweep)) else "")


def heading(sweep: Sweep) -> str:
    """Return what to call a sweep."""
    name = sweep.name + (f" ({sweep.scale})" if sweep.scale and sweep.scale != "full" else "")
    return f"{name}: {sweep.title}" if sweep.title else name


def subheading(sweep: Sweep) -> str:
    """Return which sweep it is, for below a title, and what its figures are."""
    seeds = len(sweep.axes.get(SEED, ())) or 1
    over = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    return f"{sweep.name} scale={sweep.scale or 'full'}: {over}"


def plain_key(key: str) -> str:
    """Return a key as a person would say it: its last part, in words."""
    return key.rpartition(".")[2].replace("_", " ")


def told(value: Scalar) -> str:
    """Return a value of an axis."""
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _mean(measured: Measured, shown: _Look) -> str:
    if measured.mean is None:
        return "–"
    return shown.show(measured.mean) + (f" ± {shown.show(measured.std)}" if measured.std is not None else "")


def _paper(measured: Measured, shown: _Look) -> str:
    if measured.paper is None or measured.paper.value is None:
        return "–"
    std = measured.paper.std
    return shown.show(measured.paper.value) + (f" ± {shown.show(std)}" if std is not None else "")


def _difference(measured: Measured, shown: _Look) -> str:
    if measured.difference is None or measured.mark is None:
        return "–"
    return f"{MARKS[measured.mark]} {shown.gap(measured.difference)}"


def _matching(values: Mapping[str, Scalar]) -> str:
    return ", ".join(f"{plain_key(key)} {told(value)}" for key, value in values.items()) + (": " if values else "")


def _failures(sweep: Sweep) -> str:
    """Return a list of the cells that failed or lost something, with their reasons."""
    lines = [
        f"* {_escaped(_matching(varied(sweep, cell.values)) + cell.status)}"
        + (f": {_escaped(last_line(cell.reason))}" if cell.reason else "")
        for cell in sweep.cells
        if cell.status not in ("completed", "pending", "running")
    ]
    return "\n".join(["Cells that did not complete:", "", *lines]) if lines else ""


def varied(sweep: Sweep, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return those of a cell's values that the sweep varies."""
    return {key: values.get(key) for key in sweep.axes}


def last_line(text: str) -> str:
    """Return the end of a traceback, which says what happened."""
    return (text.strip().splitlines() or ["no reason given"])[-1][:500]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def _escaped(text: str) -> str:
    """Return a text that Markdown takes as it is, in one line."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "\\<").replace("*", "\\*")
