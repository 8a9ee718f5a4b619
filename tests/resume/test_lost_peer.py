"""A run that has lost a peer is gone on with without it, and what that one did before stays in the record."""

from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict

from dimat_flwr.events import Stamped, Unobserved
from dimat_flwr.records import RunFolder
from dimat_flwr.wire import names
from dimat_flwr.wire.report import Report
from tests.in_process_app import Run
from tests.resume import interrupted
from tests.resume.interrupted import Unequal, cut_off, go_on, settings_of

LOST = 2


class Losing(Unequal):
    """A peer fails in its third exchange."""

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        if kind == names.EXCHANGE_MESSAGE and peer == LOST and self.exchanges.count((peer, kind)) == 2:
            self.exchanges.append((peer, kind))
            return RecordDict({names.REPORT: Report(error="out of memory").to_record()})
        return super().answer(peer, kind, content)


class Broken(Unequal):
    """Its device cannot take part any more, and says so."""

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        if peer == LOST and kind == names.SETUP_MESSAGE:
            return RecordDict({names.REPORT: Report(place=LOST, problem="no data").to_record()})
        return super().answer(peer, kind, content)


class Forgetful(Unequal):
    """Its device is there, and has nothing any more of what it published; it says so, or its answer is empty."""

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        reply = super().answer(peer, kind, content)
        if peer == LOST and kind == names.RESTORE_MESSAGE:
            self.asked = True
            return RecordDict({names.REPORT: Report(error="the disk is gone").to_record()} if self.speaks else {})
        return reply

    asked, speaks = False, True


class Speechless(Forgetful):
    speaks = False


class Unplugged(Unequal):
    """Its node is not there any more."""

    def nodes(self) -> list[int]:
        return [node for node in super().nodes() if node != LOST]


def _of_the_lost(folder: Path) -> tuple[list[Any], list[str]]:
    told = [event for event in Run(folder).events() if event["peer"] == LOST and event["event"] != "absent"]
    lines = (folder / "messages.csv").read_text().splitlines()
    return told, sorted(line for line in lines if line.split(",")[3] == str(LOST))


@pytest.mark.parametrize("kind", [Unequal, Broken, Forgetful, Speechless, Unplugged])
def test_its_events_and_bytes_stay(kind: type[Unequal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(tmp_path / "begun", algorithm="weight_averaging", topology="fully_connected")
    monkeypatch.setattr(interrupted, "Unequal", Losing)
    folder = cut_off(settings, 1, 14, True, tmp_path / "onto")
    assert folder is not None
    before = _of_the_lost(folder)
    assert {event["event"] for event in before[0]} >= {"training", "failure"}
    assert len(before[1]) == 6
    found = go_on(folder, post=(post := kind({"resume-from": str(folder)}, 0, None, True)))
    assert getattr(post, "asked", True)
    assert _of_the_lost(folder) == before
    assert (found.summary["status"], found.summary["lost_peers"]) == ("incomplete", {str(LOST): 2})


def test_that_nothing_is_observed_any_more_is_said_once_though_the_relay_was_lost_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = RunFolder.event

    def event(folder: RunFolder, stamped: Stamped) -> None:
        if isinstance(stamped.event, Unobserved):
            raise interrupted.CutOffError
        written(folder, stamped)

    observing = f"instruments.consensus=true instruments.observer={LOST}"
    settings = settings_of(tmp_path, observing, algorithm="weight_averaging", topology="fully_connected")
    with monkeypatch.context() as dying:
        dying.setattr(RunFolder, "event", event)
        dying.setattr(interrupted, "Unequal", Losing)
        with pytest.raises(interrupted.CutOffError):
            interrupted.run(settings)
    (folder,) = tmp_path.iterdir()
    assert [failure["peer"] for failure in Run(folder).events("failure")] == [LOST]
    (said,) = go_on(folder).events("unobserved")
    assert said["peer"] == LOST
    more = go_on(folder, rounds=6)
    assert more.events("unobserved") == [said]
