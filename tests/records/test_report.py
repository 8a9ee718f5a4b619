"""Plots and report: drawn for every kind of run, with everything a person wrote escaped."""

import base64
import json
import re
from datetime import datetime
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest

from dimat_flwr.events import Consensus, Counterfactual, Evaluation, Failure, Final, Stamped, Training, UnitsMoved
from dimat_flwr.records import RecordsError, RunFolder, draw_report, load_summary, replay
from dimat_flwr.records.report_tables import run_tiles
from dimat_flwr.records.timeline import Timeline
from dimat_flwr.records.totals import Totals

pytestmark = pytest.mark.usefixtures("drawn")

RING = [[i, (i + s) % 5, 1 / 3] for i in range(5) for s in (1, -1)]
FACTS = {"algorithm": "dimat", "topology": "ring", "dataset": "digits", "peers": 5, "edges": RING, "spectral_gap": 0.46}
VOID = {"meta", "img", "br"}
DRAWN = ("accuracy.png", "topology.png", "report.html")


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
            for k, stage in enumerate(("after_merge", "after_training")):
                folder.event(Stamped(Evaluation(stage, 50.0 + 5 * min(r, 8) - 2 * k + peer % 5), r, peer, "merge"))


def test_what_instruments_observed_is_drawn_and_listed(folder):
    evaluate(folder, rounds=3, peers=5)
    for number in range(1, 4):
        folder.event(Stamped(Consensus("after_merge", 2.5 / number, 5), number, 0, "observe.models"))
        folder.event(Stamped(UnitsMoved({"<layer>": 0.125 * number}), number, 0, "merge"))
        for peer in range(5):
            folder.event(Stamped(Counterfactual(30.0 + 10 * number + peer, 1.0, 0.5, 5), number, peer, "observe.mean"))
    folder.describe(FACTS)
    folder.finish("completed")
    assert shows(folder.path / "accuracy.png", "#66557a")
    text = "".join(Reader((folder.path / "report.html").read_text()).text)
    for expected in ("Instruments", "counterfactual accuracy", "62 ± 1.41", "consensus distance after merge", "1.25",
                     "<layer>", "0.3750"):  # fmt: skip
        assert expected in text


def test_without_instruments_nothing_is_said_of_them(folder):
    evaluate(folder, rounds=3, peers=5)
    folder.describe(FACTS)
    folder.finish("completed")
    assert not shows(folder.path / "accuracy.png", "#66557a")
    assert "<h2>Instruments" not in (folder.path / "report.html").read_text()


def read_charts(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())[1])


def pixels(path):
    return matplotlib.image.imread(path)[..., :3]


def shows(path, colour):
    """Whether at least 50 pixels have the colour, given as in #rrggbb."""
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return int((np.abs(pixels(path) - wanted).max(axis=-1) < 0.02).sum()) >= 50


def test_a_whole_run_is_drawn_and_reported(folder):
    evaluate(folder, rounds=3, peers=5)
    folder.edge_bytes(2, "merge", 0, 1, 1_234_567)
    folder.describe(FACTS)
    folder.write_config("algorithm:\n  note: '<script>alert(1)</script> $title'\n", "flwr run . -c \"name='a' & b\"")
    folder.event(Stamped(Failure("<b>CUDA</b> & $memory"), 3, 2, "merge"))
    for peer in (0, 1, 3, 4):
        folder.event(
            Stamped(Final(60.0 + peer, 50.0, 0.25, f"models/peer-{peer}.safetensors", "0f" * 32, 7), 3, peer, "")
        )
    folder.finish("failed", "peer 2 <gone>")
    accuracy, topology, report = (folder.path / name for name in DRAWN)
    assert shows(accuracy, "#00798c")  # after the merge
    assert shows(accuracy, "#e09f3e")  # after the training
    assert shows(accuracy, "#222222")  # the saved models
    assert shows(topology, "#d1495b")  # peer 2 is marked
    page = report.read_text()
    reader = Reader(page)
    text = "".join(reader.text)
    for expected in (
        "dimat · ring · digits · 5 peers",
        "peer 2 <gone>",
        "final accuracy 62.00 ± 1.58 %: mean over the saved models of 4 of 5 peers",
        "models/peer-3.safetensors",
        "<script>alert(1)</script> $title",
        "flwr run . -c \"name='a' & b\"",
        "error: <b>CUDA</b> & $memory",
        "1,234,567",
    ):
        assert expected in text
    assert page.count("<script") == 2  # the data and the code
    assert "link" not in reader.tags
    assert [base64.b64decode(src.removeprefix("data:image/png;base64,")) for src in reader.images] == [
        accuracy.read_bytes(),
        topology.read_bytes(),
    ]
    assert not re.search(r"(src|href)=\"(?!data:)", page)  # needs nothing from elsewhere
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg\b)", page)


def test_the_headline_is_the_saved_models_accuracy_or_none(folder):
    evaluate(folder, rounds=2, peers=2)
    folder.finish("completed")
    page = (folder.path / "report.html").read_text()
    assert "no saved model was reported; last accuracy 60.50 ± 0.50 % after merge in round 2" in page
    assert "final accuracy 60" not in page


def test_of_a_round_that_is_under_way_it_says_over_how_many_peers_the_mean_is(folder):
    folder.describe(FACTS)
    evaluate(folder, rounds=2, peers=5)
    folder.event(Stamped(Training(0.5, 10, 1, 0.1), 3, 1, "merge"))  # is in round 3, and has not been evaluated yet
    folder.event(Stamped(Evaluation("after_merge", 90.0), 3, 0, "merge"))
    assert folder.summary()["last_accuracy"]["peers"] == 1
    folder.refresh_report(float("inf"))
    page = (folder.path / "report.html").read_text()
    assert "so far 90.00 ± 0.00 % after merge in round 3, mean over 1 of 5 peers" in page
    assert '"remarks":{"2":"1 of 5 peers"}' in page
    assert "Where not all peers are done with a round yet" in page


def test_only_lost_peers_are_marked(folder):
    folder.describe(FACTS)
    folder.finish("completed")
    assert shows(folder.path / "topology.png", "#00798c")
    assert not shows(folder.path / "topology.png", "#d1495b")


def test_the_accuracy_plot_follows_the_figures(folder):
    folder.finish("completed")
    empty = pixels(folder.path / "accuracy.png")
    evaluate(folder, rounds=2, peers=2)
    folder.finish("completed")
    assert not np.array_equal(empty, pixels(folder.path / "accuracy.png"))


def complete(peers, weight=0.1):
    return [[a, b, weight] for a in range(peers) for b in range(peers) if a != b]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("facts", "rounds", "peers"),
    [
        ({}, 0, 0),
        (FACTS, 0, 0),
        (FACTS, 1, 1),
        (FACTS | {"edges": [], "spectral_gap": 0.0}, 2, 5),
        (FACTS | {"edges": None}, 2, 5),
        (FACTS | {"edges": [[a, b, None] for a, b, _ in RING]}, 2, 5),
        (FACTS | {"peers": 2, "edges": [[0, 1, 0.5], [1, 0, 0.25]]}, 1, 2),
        (FACTS | {"peers": 1, "edges": []}, 1, 1),
        (FACTS | {"peers": 6, "edges": [[0, i, 0.5] for i in range(1, 5)]}, 1, 1),  # peer 5 stands alone
        (FACTS | {"peers": 4, "edges": [[a, b, w * (a + 1)] for a, b, w in complete(4)]}, 41, 1),
        (FACTS | {"peers": 100, "edges": [[0, i, 0.5] for i in range(1, 100)]}, 1, 1),
        (FACTS | {"peers": 30, "edges": complete(30)}, 400, 1),
        (FACTS | {"topology": "a$b$c_{", "dataset": "$\\frac"}, 1, 1),
    ],
)
def test_runs_of_every_shape_are_drawn(folder, facts, rounds, peers):
    evaluate(folder, rounds, peers)
    folder.describe(facts)
    folder.finish("completed")
    paths = [folder.path / name for name in DRAWN]
    for path in paths[:2]:
        assert pixels(path).std() > 0.01  # more than a blank page
    text = "".join(Reader(paths[2].read_text()).text)
    assert ("no accuracy was reported" in text) == (rounds == 0)
    charts = {chart["id"]: chart for chart in read_charts(paths[2])}
    assert ("quality" in charts) == (rounds > 0)
    assert ("gain" in charts) == (rounds > 1)
    assert ("topology" in charts) == bool(facts.get("peers") and facts["edges"] is not None)


def test_a_run_that_was_stopped_does_not_say_that_its_last_round_was_done(tmp_path):
    for name, status, label in (("a", "failed", "rounds begun"), ("b", "completed", "rounds")):
        folder = RunFolder.create(tmp_path, name, datetime(2026, 1, 1))
        folder.describe({**FACTS, "rounds_planned": 10})
        folder.edge_bytes(4, "merge", 0, 1, 100)
        folder.finish(status, "stopped by Ctrl-C" if status == "failed" else None)
        assert ("4 of 10", label) in run_tiles(load_summary(folder.path))


def test_a_run_in_which_all_failed_is_drawn(folder):
    folder.describe(FACTS)
    for peer in range(5):
        folder.event(Stamped(Failure("lost"), 1, peer, "merge"))
    folder.finish("failed", "every peer failed")
    assert not shows(folder.path / "topology.png", "#00798c")
    text = (folder.path / "report.html").read_text()
    assert "every peer failed" in text
    assert "no accuracy was reported" in text


def test_a_finished_run_can_be_drawn_again_from_its_files(folder):
    evaluate(folder, rounds=2, peers=3)
    folder.describe(FACTS)
    folder.finish("completed")
    first, drawn = {name: (folder.path / name).read_bytes() for name in DRAWN}, read_charts(folder.path / DRAWN[2])
    for name in first:
        (folder.path / name).unlink()
    replay(folder.path)
    assert all((folder.path / name).read_bytes() == first[name] for name in DRAWN[:2])
    assert read_charts(folder.path / DRAWN[2]) == drawn


def test_drawing_needs_a_folder(folder, tmp_path):
    with pytest.raises(RecordsError, match=r"cannot write .*gone.*the folder gone"):
        draw_report(tmp_path / "gone", folder.summary(), Totals(), Timeline())
