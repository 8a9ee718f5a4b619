"""Peers that are started anew, lose their answers or go away, and go on with what they had."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict

from dimat_flwr.launch import launch
from dimat_flwr.local import LocalPost
from dimat_flwr.peer.checkpoint import Checkpoint, CheckpointFolder
from dimat_flwr.relay import run_relay
from dimat_flwr.relay.post import Reply
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import read_instruction
from tests.in_process_app import ROOT, Run
from tests.relay.toy_post import SimulatedClock

ROUNDS, PEER = 4, 1


class Devices(LocalPost):
    """Peers at nodes that may vanish, lose their memory and come back under another id; an answer takes a second."""

    simulation = False

    def __init__(self, clock: SimulatedClock, settings: dict[str, Any], peers: int = 3) -> None:
        super().__init__(peers, settings, ROOT / "conf")
        self.clock = clock
        self.at = {peer: peer for peer in range(peers)}  # node -> peer
        self.gone: set[int] = set()
        self.on_exchange: Callable[[int, int], str] = lambda peer, number: ""  # what befalls a peer in an exchange
        self.log: list[tuple[int, int, str]] = []

    def nodes(self) -> list[int]:
        return sorted(set(self.at) - self.gone)

    def send(self, node: int, kind: str, content: RecordDict) -> str:
        return "" if node in self.gone else super().send(node, kind, content)

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        if self._waiting and self._waiting[0][0] not in ids:  # somebody else asks for another message
            self._waiting.rotate(-1)
            return []
        if not self._waiting:
            return []
        message_id, node, kind, content = self._waiting[0]
        befalls = ""
        if kind == names.EXCHANGE_MESSAGE:
            instruction = read_instruction(content[names.INSTRUCTION])
            befalls = self.on_exchange(instruction.peer, instruction.number)
            self.log.append((instruction.peer, instruction.number, befalls))
        if befalls in ("forgets", "dies"):
            self._states[self.at[node]] = RecordDict()
        if befalls in ("dies", "crashes", "moves"):
            self._waiting.popleft()
            if befalls == "moves":
                self.gone.add(node)
                self.at[node + 100] = self.at[node]
                self._states[self.at[node]] = RecordDict()
            return [Reply(message_id, None, "no heartbeat", temporary=True)]
        self.clock.time += 1
        found = super().collect(ids)
        return [] if befalls == "answer lost" else found

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        return super().answer(self.at[peer], kind, content)


def run(folder: Path, befalls: dict[int, str], save: str = "always") -> tuple[Run, Devices]:
    """Run three peers on a ring; in exchanges of ``befalls`` something befalls one of them, once."""
    settings = {
        "algorithm": "dimat", "topology": "ring", "dataset": "breast_cancer", "model": "mlp", "rounds": ROUNDS,
        "codec": "int8", "output-dir": str(folder), "overrides": "training.pretrain_epochs=1 training.local_epochs=1 "
        f"relay.straggler_timeout=50 relay.repeat_timeout=60 relay.give_up_timeout=200 checkpoint.save={save}",
    }  # fmt: skip
    clock = SimulatedClock()
    post = Devices(clock, settings)
    left = dict(befalls)
    post.on_exchange = lambda peer, number: left.pop(number, "") if peer == PEER else ""
    return Run(launch(settings, ROOT / "conf", "pytest", lambda *arguments: run_relay(post, *arguments, clock))), post


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("undisturbed"), {}, save="never")[0]


def figures(run: Run) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["event"] not in ("away", "returned", "note")]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["forgets", "crashes", "dies", "moves"])
def test_whatever_befalls_a_device_the_run_is_the_same(tmp_path: Path, undisturbed: Run, what: str) -> None:
    found, post = run(tmp_path, {2: what, 4: what})
    assert [what for peer, _, befell in post.log if befell] == [what, what]
    assert found.summary["status"] == "completed"
    assert figures(found) == figures(undisturbed)
    gone = [] if what == "forgets" else [(PEER, "no heartbeat")] * 2
    assert [(event["peer"], event["reason"]) for event in found.events("away")] == gone
    assert [event["peer"] for event in found.events("returned")] == [peer for peer, _ in gone]


def test_an_answer_that_was_lost_is_given_again_and_nothing_is_done_twice(tmp_path: Path) -> None:
    found, post = run(tmp_path, {2: "answer lost"})
    assert found.summary["status"] == "completed"
    assert [number for peer, number, _ in post.log if peer == PEER].count(2) == 2
    trained = [event["round"] for event in found.events("training") if event["peer"] == PEER]
    assert trained == sorted(set(trained))
    assert len(found.events("final")) == 3


def test_a_peer_that_keeps_nothing_and_is_started_anew_says_so(tmp_path: Path) -> None:
    found, _ = run(tmp_path, {3: "forgets"}, save="never")
    (failure,) = found.events("failure")
    assert failure["peer"] == PEER
    assert "exchange 3 goes on from exchange 2, of which nothing is left here" in failure["error"]
    assert "keeps no checkpoints (checkpoint.save)" in failure["error"]


def test_a_device_that_stays_away_is_given_up_and_the_others_finish(tmp_path: Path) -> None:
    settings: dict[str, Any] = {}
    clock = SimulatedClock()
    settings = {
        "algorithm": "weight_averaging", "dataset": "breast_cancer", "model": "mlp", "rounds": ROUNDS,
        "output-dir": str(tmp_path), "overrides": "training.pretrain_epochs=0 training.local_steps=1 "
        "relay.straggler_timeout=50 relay.give_up_timeout=200",
    }  # fmt: skip
    post = Devices(clock, settings)

    def vanish(peer: int, number: int) -> str:
        if peer == PEER and number == 2:
            post.gone.add(PEER)
            return "crashes"
        return ""

    post.on_exchange = vanish
    found = Run(launch(settings, ROOT / "conf", "pytest", lambda *arguments: run_relay(post, *arguments, clock)))
    assert found.summary["status"] == "incomplete"
    assert [event["error"] for event in found.events("failure")] == ["no answer within 200 s"]
    assert [event["peer"] for event in found.events("final")] == [0, 2]


def test_the_newest_checkpoint_that_can_be_read_is_gone_on_from(tmp_path: Path) -> None:
    damaged: list[Path] = []

    def damage() -> None:
        (newest,) = tmp_path.glob(f"*/checkpoints/peer-{PEER}-00000002.checkpoint")
        newest.write_bytes(newest.read_bytes()[:-9])
        damaged.append(newest)

    settings = {
        "dataset": "breast_cancer", "model": "mlp", "rounds": ROUNDS, "output-dir": str(tmp_path),
        "overrides": "training.pretrain_epochs=1 training.local_epochs=1 checkpoint.save=always",
    }  # fmt: skip
    clock = SimulatedClock()
    post = Devices(clock, settings)

    def befalls(peer: int, number: int) -> str:
        if (peer, number) == (PEER, 3):
            damage()
            return "forgets"
        return ""

    post.on_exchange = befalls
    found = Run(launch(settings, ROOT / "conf", "pytest", lambda *arguments: run_relay(post, *arguments, clock)))
    assert found.summary["status"] == "completed"
    told = [event["values"]["text"] for event in found.events("note") if event["peer"] == PEER]
    assert any("a checkpoint cannot be used" in text and str(damaged[0]) in text for text in told)
    assert any("goes on from exchange 1 instead of 2" in text for text in told)


def test_a_full_disk_at_one_peer_costs_the_checkpoint_and_a_warning_and_nothing_else(
    tmp_path: Path, undisturbed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = CheckpointFolder.save

    def full(folder: CheckpointFolder, checkpoint: Checkpoint) -> None:
        if checkpoint.number < 2 or folder._peer != PEER:
            whole(folder, checkpoint)
            return
        with monkeypatch.context() as disk:
            disk.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
            whole(folder, checkpoint)

    monkeypatch.setattr(CheckpointFolder, "save", full)
    found, _ = run(tmp_path, {})
    assert found.summary["status"] == "completed"
    assert figures(found) == figures(undisturbed)
    told = [(event["peer"], event["values"]["text"]) for event in found.events("note")]
    assert [peer for peer, _ in told] == [PEER] * (ROUNDS - 1)
    assert all("no checkpoint after exchange" in text and "No space left on device" in text for _, text in told)


def test_a_whole_run_with_a_straggler_is_gone_on_with(tmp_path: Path) -> None:
    base, onto = tmp_path / "begun", tmp_path / "onto"
    settings = {
        "algorithm": "weight_averaging", "dataset": "breast_cancer", "model": "mlp", "rounds": 12, "codec": "top_k",
        "output-dir": str(base), "overrides": "training.pretrain_epochs=0 training.local_steps=1 "
        "relay.straggler_timeout=5 relay.give_up_timeout=2000",
    }  # fmt: skip
    clock = SimulatedClock()

    def slow(peer: int, number: int) -> str:
        """Let one peer be away for long, and all end while it is."""
        if peer == PEER and number in (2, 3):
            return "crashes"
        if peer == 0 and number == 9:
            shutil.copytree(next(base.iterdir()), onto / next(base.iterdir()).name)
            raise KeyboardInterrupt
        return ""

    post = Devices(clock, settings)
    post.on_exchange = slow
    post.nodes = lambda: [0, 1, 2] if clock.time < 4 else [0, 2]  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        launch(settings, ROOT / "conf", "pytest", lambda *arguments: run_relay(post, *arguments, clock))
    (folder,) = onto.iterdir()
    left = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**left, "writer": None, "heartbeat": "2026-01-01T00:00:00+00:00"}))
    again = {"resume-from": str(folder)}
    clock = SimulatedClock()
    post = Devices(clock, again)
    found = Run(launch(again, ROOT / "conf", "pytest", lambda *arguments: run_relay(post, *arguments, clock)))
    assert found.summary["status"] == "completed"
    resumed = {event["peer"]: (event["after"], event["reason"]) for event in found.events("resumed")}
    assert resumed[PEER] == (1, "it was late, and what it would have read is not kept any more")
    assert min(resumed[0][0], resumed[2][0]) >= 7
    assert [event["peer"] for event in found.events("caught_up")] == [PEER]
    assert len(found.events("final")) == 3
    assert not found.events("rejected")
