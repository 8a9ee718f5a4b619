"""A peer that lies when a run is gone on with: nobody else fails, nothing is lost, and the record says who it was."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, RecordDict

from dimat_flwr.events import Evaluation, Final, Note, Rejected
from dimat_flwr.relay import MembershipError, SetupError
from dimat_flwr.wire import names
from dimat_flwr.wire.blob import to_record
from dimat_flwr.wire.report import Report
from tests.in_process_app import Run
from tests.resume.interrupted import Unequal, cut_off, go_on, settings_of

LIAR = 1
CHOICES = {"algorithm": "weight_averaging", "topology": "fully_connected", "rounds": 3}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base, onto = tmp_path_factory.mktemp("begun"), tmp_path_factory.mktemp("left")
    folder = cut_off(settings_of(base, **CHOICES), 1, 11, True, onto)
    assert folder is not None
    return folder


@pytest.fixture
def folder(left: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(left, tmp_path / left.name))
    settings = json.loads((copy / "settings.json").read_text())
    (copy / "settings.json").write_text(json.dumps({**settings, "output-dir": str(tmp_path)}))
    return copy


def attack(folder: Path, kind: str, change: Callable[[RecordDict], object], *, simulation: bool = True) -> Run:
    def intercept(peer: int, which: str, reply: RecordDict) -> RecordDict:
        if (peer, which) == (LIAR, kind):
            reply = RecordDict({name: _copy(record) for name, record in reply.items()})
            change(reply)
        return reply

    post = Unequal({"resume-from": str(folder)}, 0, None, True)
    post._intercept, post.simulation = intercept, simulation
    return go_on(folder, post=post, overrides="relay.join_timeout=0.5")


def _copy(record: Any) -> Any:
    return ConfigRecord(dict(record)) if isinstance(record, ConfigRecord) else record


def _say(**fields: Any) -> Callable[[RecordDict], object]:
    return lambda reply: reply.config_records[names.REPORT].update(fields)


def _tell(*events: Any) -> Callable[[RecordDict], object]:
    return lambda reply: reply.update({names.REPORT: Report(events=list(events)).to_record()})


CLAIMS = {
    "kept nothing": _say(kept="[]"),
    "kept the last": _say(kept="[3]"),
    "kept them all": _say(kept="[0, 1, 2, 3]"),
    "kept what there is not": _say(kept=f"[{2**62}]"),
    "kept too many": _say(kept=json.dumps(list(range(1001)))),
    "kept twice": _say(kept="[1, 1]"),
    "kept before the first": _say(kept="[-1]"),
    "kept no numbers": _say(kept="[true, 1.5]"),
    "kept a number": _say(kept=1),
    "kept no end": _say(kept="[" * 5000),
    "lost all": _say(lost="[0, 1, 2, 3]"),
    "lost the future": _say(lost=json.dumps(list(range(2**53, 2**53 + 900)))),
    "lost nothing that can be read": _say(lost=b"[]"),
    "another place": _say(place=0),
    "a place that is none": _say(place=99),
    "no report": lambda reply: reply.pop(names.REPORT),
}
ANSWERS = {
    "no report": lambda reply: reply.pop(names.REPORT),
    "an error": _say(error="no"),
    "a final too early": _tell(Final(100.0)),
    "somebody else refused": _tell(Rejected(LIAR, "x")),
    "the same refused twice": _tell(Rejected(0, "x"), Rejected(0, "x")),
    "as much as a report takes": _tell(*(Note("n" * 40, {"text": "x" * 100}) for _ in range(200))),
    "figures of its own": _tell(Evaluation("after_merge", 99.9), Evaluation("after_training", 0.0)),
    "no payload": lambda reply: reply.pop(names.outbox(None)),
    "half a payload": lambda reply: reply.update({names.outbox(None): to_record(b"\x08\0\0\0\0\0\0\0{}")}),
    "no bytes": lambda reply: reply.update({names.outbox(None): ConfigRecord({"a": 1})}),
}


def check(folder: Path, kind: str, change: Callable[[RecordDict], object], simulation: bool) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    refusal = ""
    try:
        run = attack(folder, kind, change, simulation=simulation)
    except (SetupError, MembershipError) as error:
        refusal = str(error)
    if refusal:
        assert re.search(r"(peer|node|nodes 0 and|place \d+|finished exchange) 1\b", refusal), refusal
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
        return
    honest = {event["peer"] for event in run.events("failure")}
    assert honest <= {LIAR}
    assert run.summary["status"] == ("incomplete" if honest else "completed")
    for peer in {0, 2, 3}:
        trained = [event["round"] for event in run.events("training") if event["peer"] == peer]
        assert trained == [0, 1, 2], "each round once, and none left out"
        assert not [event for event in run.events("caught_up") if event["peer"] == peer]


@pytest.mark.slow
@pytest.mark.parametrize("simulation", [True, False])
@pytest.mark.parametrize("claim", CLAIMS)
def test_a_lie_about_checkpoints(folder: Path, claim: str, simulation: bool) -> None:
    check(folder, names.SETUP_MESSAGE, CLAIMS[claim], simulation)


@pytest.mark.slow
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_lie_in_what_is_answered_once_more(folder: Path, answer: str) -> None:
    check(folder, names.RESTORE_MESSAGE, ANSWERS[answer], simulation=False)
