"""All that is made of a sweep: table.md, table.csv, figures and one page."""

from pathlib import Path

from dimat_flwr.records.files import replace_file
from dimat_flwr.records.page.document import document
from dimat_flwr.records.report_page import REPORT_FILE
from dimat_flwr.records.sweep.figures import draw_figures
from dimat_flwr.records.sweep.page import sweep_page
from dimat_flwr.records.sweep.read import Sweep, read_sweep
from dimat_flwr.records.sweep.table import as_csv, markdown

TABLE_FILE, CSV_FILE = "table.md", "table.csv"


def draw_sweep(folder: Path) -> tuple[Sweep, str]:
    """Write a sweep's table, figures and report.html into its folder; return the sweep and the table as Markdown.

    Cells that are pending, running, failed or that lost peers are counted and shown, and enter no mean.

    Raises:
        RecordsError: the folder is not that of a sweep, or cannot be read or written.
    """
    sweep = read_sweep(folder)
    table = markdown(sweep)
    replace_file(folder / TABLE_FILE, table.encode())
    replace_file(folder / CSV_FILE, as_csv(sweep).encode())
    made = draw_figures(sweep, folder)
    page = sweep_page(sweep, [TABLE_FILE, CSV_FILE, *(path.name for path in made)])
    replace_file(folder / REPORT_FILE, document(page).encode())
    return sweep, table
