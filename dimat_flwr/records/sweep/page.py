"""The page of a sweep: its table, its charts, and a link to the report of every cell."""

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from dimat_flwr.records.headline import readable_time
from dimat_flwr.records.page.document import PageParts, tiles
from dimat_flwr.records.report_page import REPORT_FILE
from dimat_flwr.records.sweep.charts import sweep_charts
from dimat_flwr.records.sweep.read import Cell, Sweep
from dimat_flwr.records.sweep.table import SAID, heading, last_line, legend, note, plain_key, table_rows, told, varied


def sweep_page(sweep: Sweep, files: Sequence[str]) -> PageParts:
    """Return the page of a sweep; its links go to its cells' own reports and to the figures."""
    charts, body = sweep_charts(sweep)
    completed = sum(cell.status == "completed" for cell in sweep.cells)
    whole = "completed" if completed == len(sweep.cells) else "incomplete"
    seconds = sum(float(cell.facts.get("seconds") or 0.0) for cell in sweep.cells)
    fixed = ", ".join(f"{plain_key(key)} {told(value)}" for key, value in sweep.fixed.items())
    shown = [
        (f"{completed} of {len(sweep.cells)}", "cells completed"),
        (readable_time(seconds), "work of the cells"),
    ]
    links = ", ".join(f'<a href="{quote(name)}">{escape(name)}</a>' for name in files)
    parts = [
        f'<p><span class="status own">{whole}</span></p>\n',
        tiles(shown),
        f"<pre>{escape(sweep.command or 'command: not recorded')}</pre>\n",
        f"<p>The same in all cells: {escape(fixed)}.</p>\n" if fixed else "",
        f'<h2>Results</h2>\n{_results(sweep)}<p class="faint">{escape(legend(sweep))}</p>\n{_notes(sweep)}',
        body,
        f"<h2>Cells</h2>\n{_cells(sweep)}",
        f"<p>Also here: {links}.</p>\n",
    ]
    return PageParts(title=heading(sweep), kind=whole, body="".join(parts), charts=charts)


def _results(sweep: Sweep) -> str:
    rows = table_rows(sweep)
    if not rows:
        return "<p>No cells.</p>"
    columns, words = list(rows[0].cells), len(rows[0].setting.values) + 1
    head = "".join(f"<th{' class=word' if k < words else ''}>{escape(name)}</th>" for k, name in enumerate(columns))
    lines = []
    for row in rows:
        cells = []
        for k, (name, text) in enumerate(row.cells.items()):
            missing = "missing" if name == "cells" and "(" in text else ""
            kind = " ".join(
                filter(None, ("word" if k < words or name == "source" else "", row.mark.get(name, missing)))
            )
            cells.append(f'<td class="{kind}">{escape(text)}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table class="numbers"><tr>{head}</tr>\n{chr(10).join(lines)}</table></div>\n'


def _notes(sweep: Sweep) -> str:
    notes = [f"<li>{escape(note(entry))}</li>" for entry in sweep.paper if entry.text]
    return f"<p>{SAID}</p>\n<ul>{''.join(notes)}</ul>\n" if notes else ""


def _cells(sweep: Sweep) -> str:
    keys = list(sweep.axes)
    head = "".join(f"<th>{escape(plain_key(key))}</th>" for key in keys)
    lines = [
        "<tr>"
        + "".join(f"<td>{escape(told(value))}</td>" for value in varied(sweep, cell.values).values())
        + _outcome(cell)
        + "</tr>"
        for cell in sweep.cells
    ]
    names = "".join(f"<th>{name}</th>" for name in ("status", "final accuracy (%)", "time (s)", "report"))
    return f'<div class="scroll"><table><tr>{head}{names}</tr>\n{chr(10).join(lines)}</table></div>\n'


def _outcome(cell: Cell) -> str:
    final = None if cell.summary is None else cell.summary.get("final_accuracy")
    seconds = cell.facts.get("seconds")
    status = escape(cell.status) + (f": {escape(last_line(cell.reason))}" if cell.reason else "")
    kind = "" if cell.status == "completed" else ' class="missing"'
    link = "–" if cell.summary is None else f'<a href="{quote(cell.folder)}/{REPORT_FILE}">report</a>'
    figures = [
        f"{final:.2f}" if isinstance(final, float) else "–",
        f"{seconds:.1f}" if isinstance(seconds, int | float) else "–",
    ]
    return f"<td{kind}>{status}</td>" + "".join(f"<td>{text}</td>" for text in figures) + f"<td>{link}</td>"
