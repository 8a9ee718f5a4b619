"""The report of a sweep: means over the seeds that completed and nothing else, the paper's beside them."""

import csv
import json
import re
import shutil
from statistics import mean, stdev

import pytest
from typer.testing import CliRunner

from dimat_flwr.cli import app
from dimat_flwr.records import RecordsError
from dimat_flwr.records.sweep import draw_sweep, read_sweep
from dimat_flwr.records.sweep.panels import numeric_axes, panels_of
from dimat_flwr.records.sweep.settings import settings_of
from tests.records.sweep_folders import AXES, write_run, write_sweep

PAPER = [
    {"values": {"algorithm": "dimat", "partition": "iid"}, "metric": "final_accuracy", "value": 51.5, "std": 0.01,
     "source": "T|2"},
    {"values": {"algorithm": "dimat", "partition": "classes"}, "metric": "final_accuracy", "value": 70.0,
     "source": "T|2"},
    {"values": {"algorithm": "weight_averaging"}, "metric": "final_accuracy", "value": 10.0, "source": "T|2"},
    {"values": {"algorithm": "dimat"}, "text": "<b>frozen</b> BatchNorm", "source": "code"},
]  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A sweep of four settings: the second lacks a seed that failed, the third two, and the fourth has none."""
    odd = {4: "failed", 6: "lost", 7: "pending", 9: "running", 10: "failed", 11: "failed"}
    folder = write_sweep(tmp_path_factory.mktemp("sweep") / "toy", odd=odd, paper=PAPER)
    return folder, *draw_sweep(folder)


def rows_of(folder):
    with (folder / "table.csv").open() as file:
        return list(csv.DictReader(file))


def test_means_are_over_completed_seeds_alone(drawn):
    rows = rows_of(drawn[0])
    finals = [[50.0, 51.0, 52.0], [52.0, 54.0], [56.0], []]
    for row, expected in zip(rows, finals, strict=True):
        assert (row["planned"], row["completed"]) == ("3", str(len(expected)))
        assert row["final_accuracy_n"] == str(len(expected))
        assert row["final_accuracy_mean"] == (f"{mean(expected):.10g}" if expected else "")
        assert row["final_accuracy_std"] == (f"{stdev(expected):.10g}" if len(expected) > 1 else "")
    standing = [row["standing"] for row in rows]
    assert standing == [
        "3 of 3",
        "2 of 3 (1 failed)",
        "1 of 3 (1 incomplete, 1 pending)",
        "0 of 3 (2 failed, 1 running)",
    ]


def test_the_difference_to_the_paper_is_marked_by_the_spreads(drawn):
    rows = rows_of(drawn[0])
    assert [row["final_accuracy_difference"] for row in rows] == ["-0.5", "-17", "46", ""]
    assert [row["final_accuracy_mark"] for row in rows] == ["within", "below", "above", ""]
    assert rows[3]["final_accuracy_paper"] == "10"  # what there is to reach stands there also without a cell of ours


def test_the_table_can_be_read_in_markdown(drawn):
    folder, _, table = drawn
    assert (folder / "table.md").read_text() == table
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1  # "T|2" makes no column
    assert "| 51.00 ± 1.00       | 51.50 ± 0.01 | ≈ -0.50    |" in lines[2]
    assert "▼ -17.00" in lines[3]
    assert "▲ +46.00" in lines[4]
    assert "What the paper says:\n\n* algorithm dimat: \\<b>frozen\\</b> BatchNorm (code)" in table
    assert "failed: ValueError: no \\| \\<script>" in table
    assert "incomplete: 1 of 3 peers was lost" in table


def test_the_page_links_every_run_there_is_and_nothing_elsewhere(drawn):
    folder, sweep, _ = drawn
    page = (folder / "report.html").read_text()
    links = re.findall(r'href="([^"]*)"', page)
    assert all((folder / link.removesuffix("report.html")).exists() for link in links)
    assert (
        sum(link.startswith("cells/") for link in links) == sum(cell.summary is not None for cell in sweep.cells) == 7
    )
    assert "<script>" in page
    assert page.count("<script") == 2
    assert "no | &lt;script&gt;" in page
    assert "<b>frozen" not in page


def test_figures_are_for_screen_and_print(drawn):
    folder = drawn[0]
    for name in ("accuracy-rounds", "accuracy-bytes", "paper"):
        assert (folder / f"{name}.png").stat().st_size > 5000
        image = (folder / f"{name}.svg").read_text()
        for word in ("dimat", "partition classes"):
            assert word in image
        assert "<date" not in image
    again = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    draw_sweep(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == again


def test_curves_are_over_rounds_that_all_seeds_evaluated(tmp_path):
    folder = write_sweep(tmp_path / "toy", {"algorithm": ["dimat"], "seed": [0, 1]})
    second = folder / "cells" / f"{1:024x}" / "summary.json"
    summary = json.loads(second.read_text())
    summary["rounds"][1]["accuracy_after_merge"] = None
    second.write_text(json.dumps(summary))
    (setting,) = settings_of(read_sweep(folder))
    curve = setting.curve()
    assert curve.rounds == [1, 3, 4]
    assert curve.sent == [750_000.0, 2_250_000.0, 3_000_000.0]
    assert curve.mean[-1] == pytest.approx(50.5)
    assert curve.std[-1] == pytest.approx(stdev([50.0, 51.0]))
    assert curve.n == 2
    assert all(seconds > 0 for seconds in curve.seconds)


def test_a_numeric_axis_is_drawn_against(tmp_path):
    axes = {"peers": [5, 10, 20], "algorithm": ["dimat", "sgp"]}
    folder = write_sweep(tmp_path / "toy", axes)
    sweep, _ = draw_sweep(folder)
    assert numeric_axes(sweep) == ["peers"]
    (panel,) = panels_of(sweep, "peers")
    assert [(look, name) for look, name, _ in panel.curves] == [(0, "dimat"), (1, "sgp")] * 3
    assert [panel.title for panel in panels_of(sweep)] == ["peers 5", "peers 10", "peers 20"]
    assert (folder / "final-peers.svg").exists()
    assert "over-peers-0" in (folder / "report.html").read_text()


def test_algorithms_are_compared_within_a_panel_whatever_the_order_of_the_axes(tmp_path):
    folder = write_sweep(tmp_path / "toy", {"compat": ["fair", "paper"], "algorithm": ["dimat", "sgp"]})
    panels = panels_of(read_sweep(folder))
    assert [panel.title for panel in panels] == ["compat fair", "compat paper"]
    assert [[name for _, name, _ in panel.curves] for panel in panels] == [["dimat", "sgp"]] * 2


def test_a_sweep_that_has_just_begun_is_shown_as_such(tmp_path):
    folder = write_sweep(tmp_path / "toy", odd=dict.fromkeys(range(12), "pending"))
    _, table = draw_sweep(folder)
    assert table.count("0 of 3 (3 pending)") == 4
    page = (folder / "report.html").read_text()
    assert "<b>0 of 12</b><span>cells completed" in page
    assert '<span class="status own">incomplete</span>' in page


def test_of_a_sweep_that_was_killed_no_cell_is_said_to_run(tmp_path):
    folder = write_sweep(tmp_path / "toy", {"algorithm": ["dimat"], "seed": [0, 1, 2]}, odd={0: "running"})
    sweep = json.loads((folder / "sweep.json").read_text())
    for cell in sweep["cells"][:2]:  # of one nothing is there yet, one ended just before, of one the process is gone
        cell["status"] = "running"
    sweep["cells"][2]["status"] = "running"
    (folder / "sweep.json").write_text(json.dumps(sweep))
    last = folder / sweep["cells"][2]["folder"] / "summary.json"
    summary = json.loads(last.read_text())
    last.write_text(
        json.dumps(summary | {"status": "running", "heartbeat": "2026-01-01T00:00:00+00:00", "writer": None})
    )
    assert [cell.status for cell in read_sweep(folder).cells] == ["running", "completed", "interrupted"]
    _, table = draw_sweep(folder)
    assert "1 of 3 (1 interrupted, 1 running)" in table
    assert "interrupted: no sign of life since 2026-01-01" in table


def test_a_cell_whose_folder_is_gone_is_named_and_the_others_are_reported(tmp_path):
    folder = write_sweep(tmp_path / "toy", {"algorithm": ["dimat"], "seed": [0, 1, 2]})
    shutil.rmtree(folder / "cells" / f"{1:024x}")
    (folder / "cells" / f"{2:024x}" / "summary.json").write_text("{")
    sweep, table = draw_sweep(folder)
    assert [cell.status for cell in sweep.cells] == ["completed", "missing", "unreadable"]
    assert "1 of 3 (1 missing, 1 unreadable)" in table
    assert f"missing: there is no cells/{1:024x}/summary.json; run the sweep again" in table


def test_the_command_tells_a_sweep_from_a_run(tmp_path):
    folder = write_sweep(tmp_path / "toy", {"algorithm": ["dimat"], "seed": [0]})
    found = CliRunner().invoke(app, ["report", str(folder)])
    assert found.exit_code == 0, found.output
    assert "1 of 1 cells completed" in found.output
    assert "50.00" in found.output
    write_run(tmp_path / "single", 60.0)
    found = CliRunner().invoke(app, ["report", str(tmp_path / "single")])
    assert "final accuracy 60.00" in found.output


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"cells": [{"folder": "../x", "values": {}, "status": "pending"}]}, "lies elsewhere"),
        ({"cells": [{"folder": "/x", "values": {}, "status": "pending"}]}, "lies elsewhere"),
        ({"cells": [{"folder": "x", "values": {}, "status": "odd"}]}, "unknown status"),
        ({"cells": [{"folder": "x", "values": {}, "status": "completed"}]}, "values that no axis has"),
        (
            {"cells": [{"folder": "x", "values": dict.fromkeys(AXES, 9), "status": "pending"}]},
            "values that no axis has",
        ),
        ({"cells": [{}]}, "not what a sweep writes"),
        ({"axes": []}, "not what a sweep writes"),
    ],
)
def test_what_is_no_sweep_is_refused(tmp_path, damage, said):
    whole = {"name": "toy", "axes": AXES, "cells": [], "paper": []}
    (tmp_path / "sweep.json").write_text(json.dumps({**whole, **damage}))
    with pytest.raises(RecordsError, match=said):
        draw_sweep(tmp_path)
