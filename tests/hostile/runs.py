"""Whole runs with one hostile peer, and what must be true of what they leave."""

import json
import random
import re
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from flwr.app import RecordDict

from dimat_flwr.events import is_clean
from dimat_flwr.local.post import Intercept
from dimat_flwr.records import replay
from dimat_flwr.wire import names
from tests.hostile.attacks import Act, Turn
from tests.in_process_app import Run, run_app

PEERS, HOSTILE, ROUNDS = 5, 2, 2
TINY = (
    "training.pretrain_epochs=1 training.local_epochs=1 dataset.train_samples=100 dataset.test_samples=60 "
    "dataset.pooling=2 model.width=1 optimizer.lr=0.01"
)
_FILES = {
    "config.yaml",
    "settings.json",
    "metrics.jsonl",
    "messages.csv",
    "timeline.csv",
    "summary.json",
    "accuracy.png",
    "topology.png",
    "report.html",
}
_MODELS = {f"models/peer-{peer}.safetensors" for peer in range(PEERS)}
_CHECKPOINT = re.compile(rf"checkpoints/peer-[0-{PEERS - 1}]-0000000[0-9]\.checkpoint")
_TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "span", "div", "b", "img", "pre"}
_TAGS |= {"table", "tr", "th", "td", "h2", "figure", "figcaption", "noscript", "code", "script"}


def hostile(act: Act, kind: str = names.EXCHANGE_MESSAGE, seed: int = 0) -> Intercept:
    """Return an interceptor that lets peer ``HOSTILE`` answer messages of a kind as the attack says."""
    others: dict[int, RecordDict] = {}
    past: list[RecordDict] = []
    rng = random.Random(seed)

    def intercept(peer: int, asked: str, reply: RecordDict) -> RecordDict:
        if asked != kind:
            return reply
        if peer != HOSTILE:
            others[peer] = _copy(reply)
            return reply
        past.append(_copy(reply))
        return act(Turn(asked, len(past) - 1, reply, HOSTILE, others, past[:-1], rng))

    return intercept


def attacked(output: Path, intercept: Intercept, algorithm: str = "weight_averaging", **settings: Any) -> Run:
    """Run five peers on a ring of digits, one of them as ``intercept`` says."""
    overrides = f"{TINY} {settings.pop('overrides', '')}"
    asked = {"rounds": ROUNDS, "topology": "ring", "algorithm": algorithm, **settings}
    return run_app(output, PEERS, overrides=overrides, intercept=intercept, **asked)


def check(run: Run, *, lost: bool | None, rounds: int = ROUNDS, blame: bool = True) -> None:
    """Check what a run with one hostile peer left.

    Args:
        run: the run.
        lost: whether the hostile peer must have been lost; None: either way.
        rounds: how many there were.
        blame: whether nobody but the hostile peer may be said to have sent bad payloads.
    """
    events = run.events()
    failed = {event["peer"] for event in events if event["event"] == "failure"}
    assert failed <= {HOSTILE}, [event for event in events if event["event"] == "failure"]
    if lost is not None:
        assert failed == ({HOSTILE} if lost else set()), [e["error"][-300:] for e in events if e["event"] == "failure"]
    honest = set(range(PEERS)) - {HOSTILE}
    final = {event["peer"]: event for event in events if event["event"] == "final"}
    assert honest <= final.keys()
    assert all(final[peer]["round"] == rounds for peer in honest)
    if blame:
        told = [event for event in events if event["event"] == "rejected" and event["peer"] in honest]
        assert {event["source"] for event in told} <= {HOSTILE}, told
    summary = run.summary
    assert summary["status"] == ("incomplete" if failed else "completed")
    assert summary["lost_peers"].keys() == {str(peer) for peer in failed}
    assert honest <= {entry["peer"] for entry in summary["final"]}
    assert not failed & {entry["peer"] for entry in summary["final"]}
    assert {event["peer"] for event in events} <= set(range(PEERS))
    check_folder(run)


def check_folder(run: Run) -> None:
    """Check the files of a run that ended in whatever way: whole, small, clean, and true of each other."""
    found = {str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file()}
    others = {name for name in found if not _CHECKPOINT.fullmatch(name)} - _FILES - _MODELS
    assert not others, others
    assert found >= _FILES
    size: Counter[int] = Counter()
    for line in (run.folder / "metrics.jsonl").read_bytes().splitlines(keepends=True):
        event = json.loads(line)
        size[event["peer"]] += len(line)
        assert line.endswith(b"\n")
    assert max(size.values(), default=0) < 1_000_000, size
    for name in ("summary.json", "report.html", "metrics.jsonl"):
        assert is_clean((run.folder / name).read_text(encoding="utf-8")), f"{name} holds control characters"
    summary = json.loads((run.folder / "summary.json").read_text(encoding="utf-8"), parse_constant=_refuse)
    assert len(summary["reason"] or "") <= 3_000
    check_page((run.folder / "report.html").read_text(encoding="utf-8"))
    again = replay(run.folder)
    for key in ("rounds", "final", "final_accuracy", "lost_peers", "problems", "problems_total", "bytes_total"):
        assert again[key] == summary[key], key


def check_page(page: str) -> None:
    """Check that a report holds nothing but the tags of its template, with none of their attributes from outside."""

    scripts: list[dict[str, str | None]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag in _TAGS, tag
            given = dict(attrs)
            scripts.extend([given] if tag == "script" else [])
            assert not any(name.startswith("on") for name in given)
            assert str(given.get("src", "data:image/png;")).startswith("data:image/png;")

        def handle_comment(self, data: str) -> None:
            raise AssertionError(f"a comment: {data}")

    reader = Reader()
    reader.feed(page)
    reader.close()
    assert scripts == [{"type": "application/json", "id": "data"}, {}], "the page's data and its own script"
    assert page.rstrip().endswith("</html>")
    assert len(page) < 2_000_000


def _copy(reply: RecordDict) -> RecordDict:
    return RecordDict(dict(reply))


def _refuse(text: str) -> Mapping[str, Any]:
    raise ValueError(f"summary.json holds {text}")
