"""What is kept of a sweep in results/: enough to make its table and figures again, to the last digit shown."""

import csv

import matplotlib.image
import pytest

from benchmarks.results import draw_kept, main
from dimat_flwr.records.sweep import draw_sweep
from tests.records.sweep_folders import write_sweep

PAPER = [
    {"values": {"algorithm": "dimat"}, "metric": "final_accuracy", "value": 51.5, "std": 0.01, "source": "T2"},
    {"values": {"algorithm": "dimat"}, "text": "a note", "source": "code"},
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    place = tmp_path_factory.mktemp("kept")
    folder = write_sweep(place / "toy", odd={4: "failed", 7: "pending"}, paper=PAPER)
    draw_sweep(folder)
    main(folder, place / "results")
    return folder, place / "results" / "toy"


@pytest.mark.slow
def test_table_and_figures_are_those_of_the_sweep_itself(kept):
    folder, results = kept
    for name in ("table.md", "table.csv"):
        assert (results / name).read_bytes() == (folder / name).read_bytes(), name
    for name in ("accuracy-rounds.png", "accuracy-bytes.png", "paper.png"):
        ours, its = (matplotlib.image.imread(where / name) for where in (results, folder))
        assert abs(ours - its).max() < 0.05, name  # six digits of a percentage are kept
    assert not list(results.glob("*.svg"))


@pytest.mark.slow
def test_they_are_made_of_the_small_files_alone(kept):
    _, results = kept
    made = {path: path.read_bytes() for path in results.iterdir() if path.suffix in (".md", ".png")}
    for path in made:
        path.unlink()
    draw_kept(results)
    assert {path: path.read_bytes() for path in made} == made


def test_the_first_accuracy_is_told_with_its_round(kept):
    _, results = kept
    with (results / "cells.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert len(cells) == 10
    assert {cell["first_round"] for cell in cells} == {"1"}
    assert all(0 < float(cell["first_accuracy"]) < float(cell["final_accuracy"]) for cell in cells)
    assert {cell["memory_bytes"] for cell in cells} == {"800000000.0"}
