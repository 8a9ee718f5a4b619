"""What a run leaves behind: configuration, events, bytes per edge, summary, plots and a report. Does not need torch."""

from dimat_flwr.records.comparison import compare
from dimat_flwr.records.continued import ContinuedFolder
from dimat_flwr.records.errors import RecordsError
from dimat_flwr.records.replay import replay
from dimat_flwr.records.report_page import draw_report
from dimat_flwr.records.run_folder import RunFolder
from dimat_flwr.records.summary import load_summary

__all__ = ["ContinuedFolder", "RecordsError", "RunFolder", "compare", "draw_report", "load_summary", "replay"]
