"""A peer that was late once reads its neighbours again at once, and is read by them, whatever the codec remembers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict

from dimat_flwr.launch import launch
from dimat_flwr.local import LocalPost
from dimat_flwr.relay import run_relay
from dimat_flwr.relay.post import Reply
from dimat_flwr.wire import names
from tests.in_process_app import ROOT, Run
from tests.relay.toy_post import SimulatedClock
from tests.security.meddling import key_files


class OneLatePeer(LocalPost):
    """Every answer takes a second, and one of peer 0's twenty."""

    simulation = False

    def __init__(self, clock: SimulatedClock, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.clock, self.asked, self.answers = clock, {}, 0
        self.held: tuple[float, list[Reply]] | None = None

    def send(self, node: int, kind: str, content: RecordDict) -> str:
        sent = super().send(node, kind, content)
        if kind == names.EXCHANGE_MESSAGE:
            self.asked[sent] = node
        return sent

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        if self.held and self.clock.now() >= self.held[0]:
            _, late = self.held
            self.held = None
            return late
        found = super().collect(ids)
        self.clock.time += len(found)
        if found and self.asked.get(found[0].message_id) == 0:
            self.answers += 1
            if self.answers == 4:
                self.held = self.clock.now() + 20, found
                return []
        return found


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "sealed"), [("int8", False), ("top_k", False), ("int8", True)])
def test_who_was_late_is_sent_what_it_can_read_and_is_read(tmp_path: Path, codec: str, sealed: bool) -> None:
    settings = {
        "algorithm": "weight_averaging", "topology": "ring", "dataset": "breast_cancer", "model": "mlp", "rounds": 16,
        "codec": codec, "output-dir": str(tmp_path / "runs"),
        "overrides": "training.pretrain_epochs=0 training.local_steps=1 "
        f"evaluate.every=100 relay.straggler_timeout=5 {key_files(tmp_path) if sealed else ''}",
    }  # fmt: skip
    clock = SimulatedClock()
    post = OneLatePeer(clock, 4, settings, ROOT / "conf")
    run = Run(launch(settings, ROOT / "conf", "pytest", lambda *arguments: run_relay(post, *arguments, clock)))
    (back,) = run.events("caught_up")
    assert back["exchanges_skipped"] > 2
    assert run.events("rejected") == []
    merged = {(event["peer"], event["round"]): event["sources"] for event in run.events("merge")}
    assert merged[0, 16] == [1, 3]
    assert merged[1, 16] == [0, 2]
