"""The pages in a real browser: the script runs under the page's own policy, draws, and answers to pointer and keys."""

import json
import re
import shutil
import subprocess
from datetime import datetime
from html import unescape

import pytest

from dimat_flwr.events import Aligned, Evaluation, Failure, Final, Stamped, Training, UnitsMoved
from dimat_flwr.records import RunFolder
from dimat_flwr.records.page import document as page_document
from dimat_flwr.records.sweep import draw_sweep
from tests.records.sweep_folders import write_sweep

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium: apt-get install chromium"),
]

# Does what a person would, and writes down what the page then shows. It is let in by its own hash, as the page's is.
PROBE = """
const told = {};
const first = charts.find(chart => chart.spec.kind === "lines");
const curves = () => first.image.querySelectorAll(".curve").length;
told.before = curves();
const strokes = () => [...first.image.querySelectorAll(".curve")].map(line => line.getAttribute("d").split("L").length);
told.strokes = strokes();
const button = [...first.legend.children].find(child => child.dataset.name === FIRST);
button.focus();
button.click();
told.after = curves();
told.pressed = [...first.legend.children].find(child => child.dataset.name === FIRST).getAttribute("aria-pressed");
told.focused = document.activeElement.dataset.name;
first.image.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
told.tip = first.tip.textContent;
for (let k = 0; k < 300; k++) first.image.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
told.last = first.tip.textContent;
told.shown = !first.tip.hidden;
const axis = [...first.controls.querySelectorAll("select")].pop();
axis.value = "bytes";
axis.dispatchEvent(new Event("change"));
told.ticks = [...first.image.querySelectorAll("text.tick")].map(node => node.textContent);
told.strokesOverBytes = strokes();
told.label = [...first.image.querySelectorAll("text.label")].map(node => node.textContent);
told.drawn = charts.map(chart => [chart.spec.id, chart.image.querySelectorAll("path, rect, circle").length]);
for (const chart of charts) {
  const box = chart.image.getBoundingClientRect();
  const target = chart.spec.kind === "graph" ? chart.image.querySelector(".peer") : chart.image;
  const kind = chart.spec.kind === "graph" ? "pointerenter" : "pointermove";
  target.dispatchEvent(new PointerEvent(kind, {clientX: box.left + 0.3 * box.width, clientY: box.top + 20}));
  told["tip " + chart.spec.id] = chart.tip.textContent;
}
told.scripts = document.querySelectorAll("script").length;
told.attacked = window.attacked === undefined ? "no" : "yes";
const answer = document.createElement("pre");
answer.id = "told";
answer.textContent = JSON.stringify(told);
document.body.append(answer);
"""


def look(path, tmp_path, monkeypatch, draw, first):
    """Draw a page with the probe in it, open it, and return what the probe told."""
    probe = PROBE.replace("FIRST", json.dumps(first))
    monkeypatch.setattr(page_document, "_SCRIPT", page_document._SCRIPT + probe)
    draw()
    found = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}",
         "--virtual-time-budget=4000", "--window-size=1200,900", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert "drawn" in re.search("<html[^>]*>", found.stdout)[0], "the script did not come to its end"
    return json.loads(unescape(re.search('<pre id="told">(.*?)</pre>', found.stdout)[1]))


def test_the_page_of_a_run(tmp_path, monkeypatch):
    attack = "</script><script>window.attacked = 1</script><img src=x onerror='window.attacked = 1'>"
    folder = RunFolder.create(tmp_path, "run", datetime(2026, 1, 1))
    folder.describe({"algorithm": attack, "topology": attack, "dataset": "digits", "peers": 3, "spectral_gap": 0.5,
                     "edges": [[0, 1, 0.5], [1, 0, 0.5], [1, 2, 0.5]]})  # fmt: skip
    for number in range(1, 5):
        for peer in range(3):
            folder.event(Stamped(Evaluation("after_merge", 50.0 + 5 * number + peer), number, peer, "merge"))
            folder.event(Stamped(Aligned((peer + 1) % 3, 0.5), number, peer, "merge"))
            folder.event(Stamped(Training(0.5, 10, 1, 0.1), number, peer, "merge"))
            folder.event(Stamped(Evaluation("after_training", 52.0 + 5 * number + peer), number, peer, "merge"))
            folder.event(Stamped(UnitsMoved({attack: 0.25, "layer": 0.5}), number, peer, "merge"))
            folder.edge_bytes(number, "merge", peer, (peer + 1) % 3, 1_000_000)
            folder.answered(number, "merge", peer, 0.01, 0.008, 0.004, 0.002)
    folder.event(Stamped(Failure(attack), 4, 2, "merge"))
    folder.event(Stamped(Final(70.0), 4, 0, "merge"))
    told = look(folder.path / "report.html", tmp_path, monkeypatch, lambda: folder.finish("completed"), "peer 1")
    assert told["after"] == told["before"] - 1
    assert (told["pressed"], told["focused"]) == ("false", "peer 1")
    assert told["shown"]
    assert "round 1" in told["tip"]
    assert "peer 0: 55.00" in told["tip"]
    assert "peer 1" not in told["tip"]
    assert "mean after merge: 56.00 ± 0.82" in told["tip"]
    assert told["label"] == ["sent by all peers together (MB)", "test accuracy (%)"]
    assert [identity for identity, _ in told["drawn"]] == ["quality", "gain", "moved", "groups", "timeline", "topology"]
    assert all(shapes > 0 for _, shapes in told["drawn"])
    assert "of units moved" in told["tip groups"]
    assert "peer 0" in told["tip timeline"]
    assert "peer 0saved model: 70.00 %reads from 1 (0.5)" in told["tip topology"]
    assert (told["scripts"], told["attacked"]) == (2, "no")


def test_the_page_of_a_sweep(tmp_path, monkeypatch):
    folder = write_sweep(tmp_path / "toy", odd={4: "failed"})
    told = look(folder / "report.html", tmp_path, monkeypatch, lambda: draw_sweep(folder), "dimat")
    assert told["after"] == told["before"] - 1
    assert "weight_averaging: " in told["tip"]
    assert [identity for identity, _ in told["drawn"]] == ["panel0", "panel1"]
    assert told["label"][0].startswith("sent by all peers together")
    assert (told["scripts"], told["attacked"]) == (2, "no")


def test_a_run_that_is_evaluated_now_and_then_and_is_in_the_middle_of_a_round(tmp_path, monkeypatch):
    folder = RunFolder.create(tmp_path, "run", datetime(2026, 1, 1))
    folder.describe({"algorithm": "x", "topology": "ring", "dataset": "digits", "peers": 3, "spectral_gap": None,
                     "edges": []})  # fmt: skip
    for number in range(1, 401):
        for peer in range(3 if number < 400 else 1):
            folder.event(Stamped(Training(0.5, 10, 1, 0.1), number, peer, "merge"))
            if number % 50 == 0:
                folder.event(Stamped(Evaluation("after_merge", 50.0 + number / 50), number, peer, "merge"))
            folder.edge_bytes(number, "merge", peer, (peer + 1) % 3, 1_000_000)
    draw = lambda: folder.refresh_report(float("inf"))  # noqa: E731 - what the others hand over is a method
    told = look(folder.path / "report.html", tmp_path, monkeypatch, draw, "peer 1")
    assert told["strokes"] == [8, 7, 7, 8]  # three peers and their mean: each evaluation is a point, and none is alone
    assert "mean after merge: 58.00 ± 0.00 (1 of 3 peers)" in told["last"]
    assert "peers)" not in told["tip"]


def test_what_was_reached_without_sending_anything_is_at_the_left_end_of_an_axis_of_factors(tmp_path, monkeypatch):
    folder = write_sweep(tmp_path / "toy", {"algorithm": ["dimat", "local_only"], "seed": [0, 1]})
    for number in (2, 3):
        path = folder / "cells" / f"{number:024x}" / "summary.json"
        summary = json.loads(path.read_text())
        for entry in summary["rounds"]:
            entry["bytes"] = 0
        path.write_text(json.dumps(summary))
    told = look(folder / "report.html", tmp_path, monkeypatch, lambda: draw_sweep(folder), "dimat")
    assert told["strokesOverBytes"] == [4]  # dimat is hidden, local_only has all of its points
    assert told["ticks"].count("0") == 1
