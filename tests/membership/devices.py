"""Peers that leave and come, all in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flwr.app import RecordDict

from dimat_flwr.launch import launch
from dimat_flwr.local import LocalPost
from dimat_flwr.relay import run_relay
from dimat_flwr.relay.post import Reply
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import read_instruction
from tests.in_process_app import ROOT, Run
from tests.relay.toy_post import SimulatedClock

TABLE: dict[str, Any] = {"dataset": "breast_cancer", "model": "mlp", "algorithm": "weight_averaging", "rounds": 10}
QUICK = (
    "relay.peers=5 relay.join=any_time training.pretrain_epochs=1 training.local_steps=1 training.batch_size=16 "
    "checkpoint.save=always"
)
LIFE: dict[str, Any] = {"breaks": {1: 2, 3: 3}, "comes": {5: 3}, "places": {5: 3}}


class CutOffError(BaseException):
    """The relay and all peers are gone."""


class Devices(LocalPost):
    """Nodes in this process that break for good in a round, and others that come in a round, with a clock that goes on.

    Args:
        breaks: node -> the round in which its process ends with an error.
        comes: node -> the round in which it comes.
        places: node -> the place it claims; None for a device without partition-id.
        cut: the round in which all is gone.
    """

    simulation = False

    def __init__(
        self, nodes: int, settings: dict[str, Any], breaks: dict[int, int], comes: dict[int, int],
        places: dict[int, int | None], cut: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(nodes, settings, ROOT / "conf")
        self.clock, self._ready = SimulatedClock(), list[Reply]()
        self.asked, self.worked = set[int](), set[int]()  # nodes that were asked for their place, and that did anything
        self._breaks, self._comes, self._places, self._round, self._cut = breaks, comes, places, 0, cut

    def nodes(self) -> list[int]:
        return [node for node in super().nodes() if self._comes.get(node, 0) <= self._round]

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        self.clock.time += 1.0
        if self._waiting:
            self._ready.append(self._next_reply())
        found = [reply for reply in self._ready if reply.message_id in ids]
        self._ready = [reply for reply in self._ready if reply.message_id not in ids]
        return found

    def _next_reply(self) -> Reply:
        message_id, node, kind, content = self._waiting.popleft()
        round = read_instruction(content[names.INSTRUCTION]).round
        self._round = max(self._round, round)
        if self._cut is not None and round >= self._cut:
            raise CutOffError
        if kind == names.EXCHANGE_MESSAGE and self._breaks.get(node, 10**9) <= round:
            return Reply(message_id, None, "the device is broken")
        return Reply(message_id, self.answer(node, kind, content))

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        from dimat_flwr.peer import handle

        (self.asked if kind == names.SETUP_MESSAGE else self.worked).add(peer)
        place = self._places.get(peer, peer)
        own = {} if place is None else {"partition-id": place}
        return handle(kind, content, self._states[peer], self._run_config, own, self._conf_dir)


def settings_of(base: Path, overrides: str, **choices: Any) -> dict[str, Any]:
    return {"output-dir": str(base), "overrides": overrides, **choices}


def lived(settings: dict[str, Any], nodes: int, **life: Any) -> Run:
    post = Devices(nodes, settings, **{"breaks": {}, "comes": {}, "places": {}, **life})
    return Run(launch(settings, ROOT / "conf", "pytest", lambda *run: run_relay(post, *run, clock=post.clock)))
