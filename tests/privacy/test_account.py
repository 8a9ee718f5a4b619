"""The account of private steps outlives everything: kills at any step of writing, going back, and coming anew."""

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict

from dimat_flwr.config import Config, load_config
from dimat_flwr.learning import spend, steps_taken
from dimat_flwr.peer.account import Account
from dimat_flwr.peer.memory import Memory, checkpoint_folder
from dimat_flwr.peer.messages import handle
from dimat_flwr.peer.state import load_state
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.report import Report, read_report
from tests.in_process_app import ROOT
from tests.membership.devices import lived
from tests.peer.test_checkpoint import Disk, KilledError

STEPS = 3  # of each training


def settings(output: Path, save: str) -> dict[str, Any]:
    overrides = f"model.batchnorm=false model.in_features=64 privacy.noise_multiplier=2 checkpoint.save={save}"
    return {"algorithm": "weight_averaging", "model": "mlp", "output-dir": str(output), "overrides": overrides}


class Device:
    """A peer whose training is nothing but a number in its answer; everything it keeps is really kept."""

    def __init__(self, output: Path, save: str) -> None:
        self._settings = settings(output, save)
        self._config: Config = load_config(self._settings, {}, ROOT / "conf")
        self.records = RecordDict()
        self.trained = 0
        self.published: set[int] = set()  # which trainings' outcomes have left the device

    def exchange(self, number: int, after: int, *, joins: bool = False) -> None:
        asked = self._instruction(number=number, after=after, joins=joins, keep=list(range(max(0, number - 3), number)))
        memory = Memory(self._config, asked, self.records, has_place=True)
        reply = memory.answered()
        if reply is None:
            state = memory.before()()
            self.require_all_counted(steps_taken(state.spent))
            self.trained += 1
            spend(state.spent, 2.0, 0.5, STEPS)
            state.number = number
            reply = memory.keep(state, RecordDict({names.REPORT: Report(seconds=float(self.trained)).to_record()}))
        self._leaves(reply)
        self.require_all_counted(steps_taken(load_state(self.records).spent))

    def restore(self, number: int, keep: list[int]) -> None:
        content = RecordDict({names.INSTRUCTION: self._instruction(number=number, keep=keep, resumed=True).to_record()})
        reply = handle(names.RESTORE_MESSAGE, content, self.records, self._settings, {"partition-id": 0}, ROOT / "conf")
        assert read_report(reply[names.REPORT]).error == ""
        if keep:
            self._leaves(reply)  # counted in its file, from which the next exchange goes on

    def kept(self) -> list[int]:
        folder = checkpoint_folder(self._config, self._instruction())
        return folder.survey()[0] if folder else []

    def require_all_counted(self, steps: int) -> None:
        assert STEPS * len(self.published) <= steps <= STEPS * self.trained

    def _leaves(self, reply: RecordDict) -> None:
        self.published.add(int(read_report(reply[names.REPORT]).seconds))

    def _instruction(self, **fields: Any) -> Instruction:
        return Instruction(peer=0, peers=2, run="run", simulation=False, rounds=10**6, **fields)


@pytest.mark.parametrize("save", ["always", "never"])
def test_no_kill_loses_a_step_whose_outcome_was_published(
    save: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, device, deaths, went_back = random.Random(save), Device(tmp_path, save), 0, 0
    disk = Disk(monkeypatch)
    known = newest = -1  # the exchange that the relay has an answer to, and the latest that it ever asked for
    while deaths < 150:
        disk.dies_after(draw.randrange(1, 30), draw.random())
        before = device.records
        try:
            for _ in range(20):
                before, device.records = device.records, device.records.copy()
                what = draw.choice(["on", "on", "on", "back", "anew"])
                if what == "back" and save == "always":
                    kept = draw.choice([-1, *(number for number in device.kept() if number <= known)])
                    device.restore(max(kept, 0), [kept] if kept >= 0 else [])
                    known, went_back = kept, went_back + 1
                elif what == "anew":  # into a place, as one that comes during the run
                    newest += 1
                    device.exchange(newest, -1, joins=True)
                    known = newest
                elif known >= 0 or newest < 0:
                    newest = max(newest, known + 1)
                    device.exchange(known + 1, known)
                    known += 1
        except KilledError:
            deaths += 1
            lost = save == "always" and draw.random() < 0.5
            device.records = RecordDict() if lost else before
        disk.dies_after(-1, 0.0)
        if save == "never" and draw.random() < 0.5:  # the SuperNode, too; it can only come anew
            device.records, known = RecordDict(), -1
    assert went_back > 30 or save == "never"
    assert device.trained > len(device.published) > 100


def test_what_is_answered_again_is_counted_before_its_checkpoint_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(account: Account, spent: object) -> None:
        raise KilledError

    device = Device(tmp_path, "always")
    device.exchange(0, -1)
    with monkeypatch.context() as dying:
        dying.setattr(Account, "keep", killed)
        with pytest.raises(KilledError):
            device.exchange(1, 0)
    device.records = RecordDict()
    device.restore(1, [0, 1])  # the outcome of the training before the kill leaves the device after all
    assert len(device.published) == 2
    device.restore(0, [])
    assert device.kept() == []
    device.exchange(0, -1)


def test_an_account_never_shrinks_and_is_its_run_s(tmp_path: Path) -> None:
    account = Account(tmp_path, "run", 3, has_place=True)
    assert account.read() == []
    account.keep([(2.0, 0.1 + 0.2, 5), (1.0, 1.0, 2)])
    account.keep([(2.0, 0.5, 6)])
    assert Account(tmp_path, "run", 3, has_place=True).read() == [(2.0, 0.1 + 0.2, 5), (1.0, 1.0, 2)]
    assert Account(tmp_path, "another", 3, has_place=True).read() == []
    assert account.damaged == []


def test_a_device_without_a_place_counts_on_in_whatever_place_it_comes_to(tmp_path: Path) -> None:
    Account(tmp_path, "run", 3, has_place=False).keep([(2.0, 0.5, 6)])
    assert Account(tmp_path, "run", 1, has_place=False).read() == [(2.0, 0.5, 6)]
    assert Account(tmp_path, "run", 1, has_place=True).read() == [], "another SuperNode's that shares the folder"


def test_a_full_disk_takes_the_account_where_it_has_taken_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    account = Account(tmp_path, "run", 0, has_place=True)
    account.keep([(2.0, 0.5, 6)])
    blocks = (tmp_path / "peer-0.account").stat().st_size
    monkeypatch.setattr("dimat_flwr.peer.account.write_durably", full)
    account.keep([(2.0, 0.5, 60_000_000), *((1.0 + k, 0.123456789, 1) for k in range(30))])
    assert Account(tmp_path, "run", 0, has_place=True).read()[0] == (2.0, 0.5, 60_000_000)
    assert (tmp_path / "peer-0.account").stat().st_size == blocks
    with pytest.raises(OSError, match="No such file"):
        Account(tmp_path, "run", 1, has_place=True).keep([(2.0, 0.5, 6)])


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-1], lambda data: b"\xff" + data[1:]])
def test_a_damaged_account_is_named_and_written_anew(tmp_path: Path, damage: Any) -> None:
    account = Account(tmp_path, "run", 0, has_place=True)
    account.keep([(2.0, 0.5, 6)])
    path = tmp_path / "peer-0.account"
    path.write_bytes(damage(path.read_bytes()))
    assert account.read() == []
    assert account.damaged[0].startswith(f"{path}: ")
    account.keep([(2.0, 0.5, 7)])
    assert account.read() == [(2.0, 0.5, 7)]


@pytest.mark.slow
@pytest.mark.parametrize("save", ["always", "never"])
def test_a_device_that_comes_anew_into_its_place_counts_on(save: str, tmp_path: Path) -> None:
    small = (
        "training.pretrain_epochs=1 training.local_epochs=1 training.batch_size=16 relay.peers=4 relay.join=any_time"
    )
    private = settings(tmp_path, save)
    private["overrides"] += f" {small} dataset.train_samples=80 dataset.test_samples=20 model.width=2"
    run = lived({**private, "rounds": 8}, 5, breaks={3: 2}, comes={4: 3}, places={4: 3})
    (joined,) = run.events("joined")
    told = [(event["round"], event["steps"]) for event in run.events("privacy") if event["peer"] == 3]
    before = max(steps for round, steps in told if round < joined["round"])
    after = [steps for round, steps in told if round >= joined["round"]]
    each = told[0][1]
    assert before == 2 * each
    assert after == [before + each * number for number in range(1, len(after) + 1)]
    assert after


def test_what_the_disk_does_not_take_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(account: Account, spent: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Account, "keep", full)
    device = Device(tmp_path, "always")
    asked = replace(device._instruction(), number=0)
    memory = Memory(device._config, asked, device.records, has_place=True)
    state = memory.before()()
    spend(state.spent, 2.0, 0.5, STEPS)
    reply = memory.keep(state, RecordDict({names.REPORT: Report().to_record()}))
    (told,) = read_report(reply[names.REPORT]).events
    assert told.values["text"] == "the account of private steps is in memory alone: No space left on device"  # type: ignore[union-attr]


@pytest.mark.parametrize("save", ["always", "never"])
@pytest.mark.parametrize("memory", ["there", "lost"])
def test_the_record_says_that_an_account_was_damaged(save: str, memory: str, tmp_path: Path) -> None:
    device = Device(tmp_path, save)
    device.exchange(0, -1)
    path = tmp_path / "run" / "privacy" / "peer-0.account"
    path.write_bytes(path.read_bytes()[:-1])
    if memory == "lost":
        device.records = RecordDict()
    anew = memory == "lost" and save == "never"  # then it can only come as a newcomer
    asked = device._instruction(number=1, after=-1 if anew else 0, joins=anew)
    told = Memory(device._config, asked, device.records, has_place=True)
    assert told.answered() is None
    assert steps_taken(told.before()().spent) == (0 if anew else STEPS)
    (note,) = told.notes
    assert "it is damaged" in str(note.values["text"])


def test_what_is_answered_again_tells_of_a_damaged_account_too(tmp_path: Path) -> None:
    device = Device(tmp_path, "always")
    device.exchange(0, -1)
    path = tmp_path / "run" / "privacy" / "peer-0.account"
    path.write_bytes(b"")
    reply = Memory(device._config, device._instruction(number=0, after=-1), RecordDict(), has_place=True).answered()
    assert reply is not None
    (note,) = read_report(reply[names.REPORT]).events
    assert "it is damaged" in str(note.values["text"])  # type: ignore[union-attr]


def test_a_run_is_not_gone_on_with_from_a_damaged_account(tmp_path: Path) -> None:
    device = Device(tmp_path, "always")
    device.exchange(0, -1)
    (path,) = tmp_path.rglob("*.account")
    path.write_bytes(b"")
    asked = device._instruction(number=0, keep=[0], resumed=True)
    content = RecordDict({names.INSTRUCTION: asked.to_record()})
    reply = handle(names.RESTORE_MESSAGE, content, RecordDict(), device._settings, {}, ROOT / "conf")
    assert f"{path}: it is damaged. Bring a copy" in read_report(reply[names.REPORT]).error
    assert path.read_bytes() == b""
    path.unlink()
    device.restore(0, [0])


def test_a_device_that_has_lost_its_noise_does_not_go_on(tmp_path: Path) -> None:
    run = settings(tmp_path, "always")
    run["overrides"] = run["overrides"].replace("privacy.noise_multiplier=2 ", "")
    device = Device(tmp_path, "always")
    device.exchange(0, -1)

    def said(kind: str, records: RecordDict, **fields: Any) -> Report:
        content = RecordDict({names.INSTRUCTION: device._instruction(**fields).to_record()})
        return read_report(handle(kind, content, records, run, {"partition-id": 0}, ROOT / "conf")[names.REPORT])

    for memory in (RecordDict(), device.records):
        assert "give its SuperNode the noise" in said(names.EXCHANGE_MESSAGE, memory, number=1, after=0).error
    assert "give its SuperNode the noise" in said(names.SETUP_MESSAGE, RecordDict(), resumed=True).problem


def damages(text: str) -> list[str]:
    """Return what JSON could be in an account whose digest is right: with another type or one thing less anywhere."""
    found: list[Any] = [None, 3, "x", [], {}, [[]], json.loads(text) | {"spent": None}]
    for wrong in (None, 3, "x", [1], {}, [[]], [[1, 2]], [None], [[1, 2, 3, 4]]):
        found += [{"run": "run", "spent": wrong}, {"run": wrong, "spent": []}]
    return [json.dumps(one) for one in [*found, {"run": "run"}, {"spent": []}]]


def test_an_account_that_another_version_has_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "peer-0.account"
    for text in damages('{"run": "run", "spent": []}'):
        path.write_text(hashlib.sha256(text.encode()).hexdigest() + text)
        account = Account(tmp_path, "run", 0, has_place=True)
        assert account.read() in ([], [(1, 2, 3)]), text
        assert account.damaged or '"run": "run"' not in text or json.loads(text)["spent"] in ([], {}), text
