"""Fixtures of the tests of the records."""

import pytest

from dimat_flwr.records import run_folder


@pytest.fixture
def undrawn(monkeypatch):
    """Leave out the drawing at a run's end, which takes most of the time of a test that looks at other things."""
    monkeypatch.setattr(run_folder, "draw_report", lambda *story: [])
