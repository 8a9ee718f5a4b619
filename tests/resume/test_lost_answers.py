"""Devices that lose the answer to every message once while a run is gone on with: they are asked again."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from flwr.app import RecordDict

from dimat_flwr.launch import launch
from dimat_flwr.relay import run_relay
from dimat_flwr.relay.post import Reply
from dimat_flwr.wire import names
from tests.in_process_app import ROOT, Run
from tests.relay.toy_post import SimulatedClock
from tests.resume.interrupted import PEERS, Unequal, cut_off, run, settings_of

CHOICES = {"algorithm": "weight_averaging", "topology": "ring", "codec": "top_k"}


class Losing(Unequal):
    """A deployment to the relay, and of each peer the first answer of each kind is lost with its process."""

    simulation = False

    def __init__(self) -> None:
        super().__init__({}, 6, None, True)
        self.answers, self._last = Counter[tuple[int, str]](), (-1, "")

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        self._last = (peer, kind)
        self.answers[peer, kind] += 1
        return super().answer(peer, kind, content)

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        replies = super().collect(ids)
        if replies and self.answers[self._last] == 1:
            return [Reply(reply.message_id, None, "ClientApp stopped responding.", temporary=True) for reply in replies]
        return replies


def test_a_run_whose_peers_lose_their_answers_is_gone_on_with_all_the_same(tmp_path: Path) -> None:
    whole = run(settings_of(tmp_path / "whole", **CHOICES))
    folder = cut_off(settings_of(tmp_path / "begun", **CHOICES), 5, 11, True, tmp_path / "onto")
    assert folder is not None
    post, settings = Losing(), {"resume-from": str(folder)}
    launch(settings, ROOT / "conf", "pytest", lambda *arguments: run_relay(post, *arguments, SimulatedClock()))
    for kind in (names.SETUP_MESSAGE, names.RESTORE_MESSAGE, names.EXCHANGE_MESSAGE):
        assert all(post.answers[peer, kind] > 1 for peer in range(PEERS))
    assert sum(event["event"] == "away" for event in Run(folder).events()) == PEERS
    assert Run(folder).summary["final"] == whole.summary["final"]
    devices = tmp_path / "begun" / folder.name  # where the disks of a deployment's devices are
    for peer in range(PEERS):
        models = [path / "models" / f"peer-{peer}.safetensors" for path in (devices, whole.folder)]
        assert models[0].read_bytes() == models[1].read_bytes()
