"""Plots and report: drawn for every kind of run, with everything a person wrote escaped."""

import base64
import re
from datetime import datetime
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest

from dimat_flwr.records import RecordsError, RunFolder, draw_report, load_summary

RING = [[i, (i + s) % 5, 1 / 3] for i in range(5) for s in (1, -1)]
FACTS = {"algorithm": "dimat", "topology": "ring", "dataset": "digits", "peers": 5, "edges": RING, "spectral_gap": 0.46}
VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Collects text and images, and fails on tags that do not nest."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.images, self.tags = [], [], [], set()
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path, "run", datetime(2026, 1, 1))


def evaluate(folder, rounds, peers):
    for r in range(1, rounds + 1):
        for peer in range(peers):
            for k, stage in enumerate(("before_merge", "after_merge", "after_training")):
                value = 50 + 5 * r + 2 * k + peer
                folder.event({"event": "evaluation", "peer": peer, "round": r, "stage": stage, "accuracy": value})


def pixels(path):
    return matplotlib.image.imread(path)[..., :3]


def shows(path, colour):
    """Whether at least 50 pixels have the colour, given as in #rrggbb."""
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return int((np.abs(pixels(path) - wanted).max(axis=-1) < 0.02).sum()) >= 50


def test_a_whole_run_is_drawn_and_reported(folder):
    evaluate(folder, rounds=3, peers=5)
    folder.edge_bytes(2, 0, 0, 1, 1_234_567)
    folder.write_config("algorithm:\n  note: '<script>alert(1)</script> $title'\n", "flwr run . -c \"name='a' & b\"")
    folder.event({"event": "failure", "peer": 2, "round": 3, "phase": 0, "error": "<b>CUDA</b> & $memory"})
    folder.write_summary(FACTS | {"status": "failed", "reason": "peer 2 <gone>"})
    accuracy, topology, report = folder.plots()
    assert shows(accuracy, "#d1495b")
    assert shows(accuracy, "#00798c")
    assert shows(topology, "#d1495b")  # peer 2 is marked
    page = report.read_text()
    reader = Reader(page)
    text = "".join(reader.text)
    for expected in (
        "dimat · ring · digits",
        "failed: peer 2 <gone> · accuracy 69.00 ± 1.41 % after merge in round 3",
        "<script>alert(1)</script> $title",
        "flwr run . -c \"name='a' & b\"",
        "error: <b>CUDA</b> & $memory",
        "1,234,567",
    ):
        assert expected in text
    assert not reader.tags & {"script", "b", "link"}
    assert [base64.b64decode(src.removeprefix("data:image/png;base64,")) for src in reader.images] == [
        accuracy.read_bytes(),
        topology.read_bytes(),
    ]
    assert not re.search(r"(src|href)=\"(?!data:)", page)  # needs nothing from elsewhere


def test_only_failed_peers_are_marked(folder):
    folder.write_summary(FACTS | {"status": "completed"})
    topology = folder.plots()[1]
    assert shows(topology, "#00798c")
    assert not shows(topology, "#d1495b")


def test_the_accuracy_plot_follows_the_figures(folder):
    folder.write_summary(FACTS | {"status": "running"})
    empty = pixels(folder.plots()[0])
    evaluate(folder, rounds=2, peers=2)
    folder.write_summary(FACTS | {"status": "running"})
    assert not np.array_equal(empty, pixels(folder.plots()[0]))


@pytest.mark.parametrize(
    ("facts", "rounds", "peers"),
    [
        ({}, 0, 0),
        (FACTS, 0, 0),
        (FACTS, 1, 1),
        (FACTS | {"edges": [], "spectral_gap": 0.0}, 2, 5),
        (FACTS | {"peers": 2, "edges": [[0, 1, 0.5], [1, 0, 0.25]]}, 1, 2),
        (FACTS | {"peers": 1, "edges": []}, 1, 1),
        (FACTS | {"peers": 6, "edges": [[0, i, 0.5] for i in range(1, 5)]}, 1, 1),  # peer 5 stands alone
        (FACTS | {"peers": 4, "edges": [[a, b, 0.1 * (a + 1)] for a in range(4) for b in range(4) if a != b]}, 41, 1),
        (FACTS | {"peers": 100, "edges": [[0, i, 0.5] for i in range(1, 100)]}, 1, 1),
    ],
)
def test_runs_of_every_shape_are_drawn(folder, facts, rounds, peers):
    evaluate(folder, rounds, peers)
    folder.write_summary(facts | {"status": "completed"})
    paths = folder.plots()
    assert [p.name for p in paths] == ["accuracy.png", "topology.png", "report.html"]
    for path in paths[:2]:
        assert pixels(path).std() > 0.01  # more than a blank page
    text = "".join(Reader(paths[2].read_text()).text)
    assert ("no accuracy was reported" in text) == (rounds == 0)


def test_a_run_in_which_all_failed_is_drawn(folder):
    for peer in range(5):
        folder.event({"event": "failure", "peer": peer, "round": 1, "phase": 0, "error": "lost"})
    folder.write_summary(FACTS | {"status": "failed", "reason": "every peer failed"})
    _, topology, report = folder.plots()
    assert not shows(topology, "#00798c")
    assert "failed: every peer failed · no accuracy was reported" in report.read_text()


def test_a_finished_run_can_be_drawn_again_from_its_files(folder):
    evaluate(folder, rounds=2, peers=3)
    folder.write_summary(FACTS | {"status": "completed"})
    first = {p.name: p.read_bytes() for p in folder.plots()}
    for name in first:
        (folder.path / name).unlink()
    again = {p.name: p.read_bytes() for p in draw_report(folder.path, load_summary(folder.path))}
    assert again == first


def test_drawing_needs_a_summary_and_a_folder(folder, tmp_path):
    with pytest.raises(RecordsError, match="call write_summary before plots"):
        folder.plots()
    summary = folder.write_summary({"status": "running"})
    with pytest.raises(RecordsError, match=r"cannot draw the report in .*gone"):
        draw_report(tmp_path / "gone", summary)
