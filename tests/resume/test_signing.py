"""A run whose peers sign is gone on with though one of them was lost before all had met."""

from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict

from dimat_flwr.wire import names
from dimat_flwr.wire.report import Report
from tests.resume import interrupted
from tests.resume.interrupted import Unequal, cut_off, go_on, settings_of

LOST = 2


class LosingAtTheStart(Unequal):
    """A peer fails in exchange 0."""

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        if kind == names.EXCHANGE_MESSAGE and peer == LOST:
            self.exchanges.append((peer, kind))
            return RecordDict({names.REPORT: Report(error="out of memory").to_record()})
        return super().answer(peer, kind, content)


class Unplugged(Unequal):
    """The device of the lost peer is not there any more."""

    def nodes(self) -> list[int]:
        return [node for node in super().nodes() if node != LOST]


@pytest.mark.parametrize("kind", [Unplugged, Unequal])
def test_a_peer_was_lost_before_all_had_finished_the_start(
    kind: type[Unequal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices: dict[str, Any] = {"algorithm": "weight_averaging", "topology": "ring", "rounds": 2}
    settings = settings_of(tmp_path / "begun", "security.sign=true security.seal=true", **choices)
    monkeypatch.setattr(interrupted, "Unequal", LosingAtTheStart)
    folder = cut_off(settings, 3, 2, True, tmp_path / "onto")
    assert folder is not None
    (failure,) = interrupted.Run(folder).events("failure")
    assert failure["peer"] == LOST
    assert len(list((folder / "checkpoints").glob("peer-*-00000000.checkpoint"))) < 3, "somebody has not finished it"
    found = go_on(folder, post=kind({"resume-from": str(folder)}, 0, None, True))
    assert [event["peer"] for event in found.events("failure")] == [LOST]
    assert (found.summary["status"], found.summary["lost_peers"]) == ("incomplete", {str(LOST): 0})
    assert found.events("rejected") == []
    assert {event["peer"] for event in found.events("merge") if event["round"] == 2} == {0, 1, 3}
