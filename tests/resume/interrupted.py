"""Runs in this process that are cut off as by a power cut, at any message, with peers far apart; and gone on with."""

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flwr.app import RecordDict

from dimat_flwr.launch import launch
from dimat_flwr.local import LocalPost
from dimat_flwr.relay import run_relay
from dimat_flwr.relay.post import Reply
from dimat_flwr.wire import names
from tests.in_process_app import ROOT, Run

PEERS = 4
SMALL: dict[str, Any] = {"dataset": "breast_cancer", "model": "mlp", "rounds": 4}
OVERRIDES = "training.pretrain_epochs=1 training.local_steps=1 training.batch_size=16 checkpoint.save=always"


class CutOffError(BaseException):
    """The relay and all peers are gone."""


class Unequal(LocalPost):
    """Peers of very different speed, by a seed: whose message is worked off next is drawn at random.

    Args:
        speed: seed of the order.
        cut: after how many exchanges all is gone; None for never.
        told: whether the relay has the last answer before.
    """

    def __init__(self, settings: dict[str, Any], speed: int, cut: int | None, told: bool, peers: int = PEERS) -> None:
        super().__init__(peers, settings, ROOT / "conf")
        self._draw = random.Random(speed)
        self._weight = [self._draw.choice((1, 1, 8, 64)) for _ in range(peers)]
        self._cut, self._told = cut, told
        self.exchanges: list[tuple[int, str]] = []

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        if self._cut is not None and len(self.exchanges) > self._cut:
            raise CutOffError
        if self._waiting:
            chosen = self._draw.choices(range(len(self._waiting)), [self._weight[w[1]] for w in self._waiting])[0]
            self._waiting.rotate(-chosen)
        return super().collect(ids)

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        reply = super().answer(peer, kind, content)
        if kind == names.EXCHANGE_MESSAGE:
            self.exchanges.append((peer, kind))
            if self._cut is not None and len(self.exchanges) > self._cut and not self._told:
                raise CutOffError
        return reply


def settings_of(base: Path, overrides: str = "", **choices: Any) -> dict[str, Any]:
    return {**SMALL, **choices, "output-dir": str(base), "overrides": f"{OVERRIDES} {overrides}".strip()}


def run(settings: dict[str, Any], speed: int = 0, peers: int = PEERS) -> Run:
    post = Unequal(settings, speed, None, True, peers)
    return Run(launch(settings, ROOT / "conf", "pytest", lambda *arguments: run_relay(post, *arguments)))


def cut_off(settings: dict[str, Any], speed: int, cut: int, told: bool, onto: Path, peers: int = PEERS) -> Path | None:
    """Run until all is gone and return a folder with just what was on the disk then; None if the run was over."""
    post = Unequal(settings, speed, cut, told, peers)
    base = Path(settings["output-dir"])

    def relay(*arguments: Any) -> object:
        seen: list[Path] = []
        collect = post.collect

        def watched(ids: Sequence[str]) -> list[Reply]:
            try:
                return collect(ids)
            except CutOffError:
                seen.append(_as_it_was(base, onto))
                raise

        post.collect = watched  # type: ignore[method-assign]
        try:
            run_relay(post, *arguments)
        except CutOffError:
            return None
        raise _OverError

    try:
        launch(settings, ROOT / "conf", "pytest", relay)
    except _OverError:
        return None
    return next(path for path in onto.iterdir() if path.is_dir())


class _OverError(Exception):
    """The run came to its end before it was cut off."""


def _as_it_was(base: Path, onto: Path) -> Path:
    """Copy what is on the disk now: what the relay still writes while it falls does not count."""
    (folder,) = base.iterdir()
    shutil.copytree(folder, onto / folder.name)
    summary = onto / folder.name / "summary.json"
    # The process that wrote it lives: it runs this test.
    summary.write_text(
        json.dumps({**json.loads(summary.read_text()), "writer": None, "heartbeat": "2026-01-01T00:00:00+00:00"})
    )
    return onto / folder.name


def go_on(folder: Path, speed: int = 0, peers: int = PEERS, post: LocalPost | None = None, **news: Any) -> Run:
    settings = {"resume-from": str(folder), **news}
    post = post or Unequal(settings, speed, None, True, peers)
    return Run(launch(settings, ROOT / "conf", "pytest", lambda *arguments: run_relay(post, *arguments)))


def assert_same(found: Run, whole: Run, peers: int = PEERS) -> None:
    """Assert that a run that was gone on with left what a whole one did, to the last bit."""
    assert _told(found) == _told(whole)
    mine, theirs = found.summary, whole.summary
    for key in ("status", "final_accuracy", "final", "rounds", "bytes_total", "instrument_bytes_total", "lost_peers"):
        assert mine[key] == theirs[key], key
    for peer in range(peers):
        paths = [r.folder / "models" / f"peer-{peer}.safetensors" for r in (found, whole)]
        assert paths[0].read_bytes() == paths[1].read_bytes()
    assert _edges(found) == _edges(whole)


def _told(run: Run) -> list[str]:
    return sorted(json.dumps(event) for event in run.events() if event["event"] != "resumed")


def _edges(run: Run) -> list[str]:
    return sorted((run.folder / "messages.csv").read_text().splitlines())
