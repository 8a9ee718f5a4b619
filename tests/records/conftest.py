"""Fixtures of the tests of the records."""

import pytest

from dimat_flwr.records import report_page, run_folder
from dimat_flwr.records.accuracy_plot import plot_accuracy
from dimat_flwr.records.topology_plot import plot_topology


@pytest.fixture
def drawn(monkeypatch):
    """Draw plots in earnest."""
    monkeypatch.setattr(report_page, "plot_accuracy", plot_accuracy)
    monkeypatch.setattr(report_page, "plot_topology", plot_topology)


@pytest.fixture
def undrawn(monkeypatch):
    """Leave out the drawing at a run's end, which takes most of the time of a test that looks at other things."""
    monkeypatch.setattr(run_folder, "draw_report", lambda *story: [])
