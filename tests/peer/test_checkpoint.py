"""What a peer keeps on its disk is always something valid, whenever it is killed, and it goes on from there."""

import hashlib
import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import RecordDict

from dimat_flwr.events import Evaluation
from dimat_flwr.peer.checkpoint import Checkpoint, CheckpointError, CheckpointFolder
from dimat_flwr.peer.state import PeerState
from dimat_flwr.wire import names
from dimat_flwr.wire.blob import from_record, to_record
from dimat_flwr.wire.report import Report, read_report


def checkpoint(number: int, size: int = 50) -> Checkpoint:
    generator = torch.Generator().manual_seed(number)
    state = PeerState(model={"w": torch.randn(size, generator=generator)}, number=number, batches_drawn=number)
    state.slots["momentum"] = {"w": torch.full((3,), float(number))}
    reply = RecordDict({names.REPORT: Report(events=[Evaluation("after_merge", float(number % 100))]).to_record()})
    reply[names.outbox(None)] = to_record(f"payload {number}".encode())
    return Checkpoint(number, state, reply)


def assert_is(found: Checkpoint | None, number: int, size: int = 50) -> None:
    assert found is not None
    expected = checkpoint(number, size)
    assert found.number == found.state.number == number
    assert torch.equal(found.state.model["w"], expected.state.model["w"])
    assert torch.equal(found.state.slots["momentum"]["w"], expected.state.slots["momentum"]["w"])
    assert read_report(found.reply[names.REPORT]) == read_report(expected.reply[names.REPORT])
    assert from_record(found.reply[names.outbox(None)]) == f"payload {number}".encode()


def test_the_last_two_are_kept_and_come_back_whole(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "new", "run", 3)
    assert folder.newest() is None
    for number in range(12):
        folder.save(checkpoint(number))
    assert folder.survey()[0] == [10, 11]
    assert_is(folder.newest(), 11)
    assert_is(folder.at(11), 11)
    assert_is(folder.find(10), 10)
    assert folder.at(9) is None
    assert folder.find(9) is None
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_another_run_s_and_another_peer_s_are_not_taken(tmp_path: Path) -> None:
    CheckpointFolder(tmp_path, "run", 3).save(checkpoint(1))
    assert CheckpointFolder(tmp_path, "run", 1).newest() is None
    other = CheckpointFolder(tmp_path, "another", 3)
    assert other.newest() is None
    assert "of another run" in other.damaged[0]


def test_a_damaged_one_is_passed_over_and_named(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, "run", 0)
    for number in (4, 5):
        folder.save(checkpoint(number))
    path = tmp_path / "peer-0-00000005.checkpoint"
    whole = path.read_bytes()
    for damaged in (b"", whole[:20], whole[:-1], whole[:60] + bytes([whole[60] ^ 1]) + whole[61:], whole + b"x"):
        path.write_bytes(damaged)
        folder.damaged.clear()
        assert_is(folder.find(9), 4)
        assert folder.damaged == [f"{path}: it is damaged"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(tmp_path, "run", 0)
    folder.save(checkpoint(1))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"no checkpoint after exchange 2 in .*No space left on device"):
        folder.save(checkpoint(2))
    assert_is(folder.find(9), 1)
    assert len(list(tmp_path.iterdir())) == 1


FORKING = """
import os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path
from typing import Any
from dimat_flwr.peer.checkpoint import CheckpointFolder
from tests.peer.test_checkpoint import assert_is, checkpoint
draw, path = random.Random(int(sys.argv[2])), Path(sys.argv[1])
for _ in range(int(sys.argv[3])):
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        os.close(told)
        folder = CheckpointFolder(path, "run", 0)
        number = (folder.newest() or checkpoint(-1)).number
        while True:
            number += 1
            folder.save(checkpoint(number, 20_000))
            os.write(tell, b"%d\\n" % number)
    os.close(tell)
    before = os.read(told, 100)  # it has saved at least one
    time.sleep(draw.random() * 0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    said = before
    while more := os.read(told, 65536):
        said += more
    os.close(told)
    last = int(said.split()[-1])
    folder = CheckpointFolder(path, "run", 0)
    newest = folder.newest()
    assert folder.damaged == [], folder.damaged
    # The last that was said to be saved is there, or one that was saved and not told of.
    assert newest.number in (last, last + 1), (newest.number, last)
    assert_is(newest, newest.number, 20_000)
"""


@pytest.mark.slow
def test_five_hundred_kills_leave_a_valid_checkpoint_each_time(tmp_path: Path) -> None:
    # Forks of one process are killed, since starting one takes seconds.
    process = subprocess.Popen([sys.executable, "-c", FORKING, str(tmp_path), "0", "500"])
    assert process.wait(timeout=3600) == 0
    newest = CheckpointFolder(tmp_path, "run", 0).newest()
    assert newest is not None
    assert newest.number >= 499, "each of them has saved one more at least"
    assert len(list(tmp_path.iterdir())) <= 5, "kills leave their halves of files behind"


class KilledError(BaseException):
    """The process is gone: nothing after this happens any more."""


class Disk:
    """Every step of writing a file, in this process; dies at one of them, in a write after some of the bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.share, self.dead = -1, 0.0, False
        real_open, real_replace, real_unlink = Path.open, Path.replace, Path.unlink
        disk = self

        class File:
            def __init__(self, file: Any) -> None:
                self.file = file

            def __enter__(self) -> "File":
                return self

            def __exit__(self, *_: object) -> None:
                self.file.close()

            def write(self, data: bytes) -> None:
                try:
                    disk.step()
                except KilledError:
                    self.file.write(data[: int(disk.share * len(data))])
                    raise
                self.file.write(data)

            def __getattr__(self, name: str) -> Any:
                return getattr(self.file, name)

        def opened(path: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            if "w" not in mode:
                return real_open(path, mode, *arguments, **named)
            disk.step()
            return File(real_open(path, mode, *arguments, **named))

        def stepping(real: Any) -> Any:
            def call(*arguments: Any, **named: Any) -> Any:
                disk.step()
                return real(*arguments, **named)

            return call

        monkeypatch.setattr(Path, "open", opened)
        monkeypatch.setattr(os, "fsync", stepping(lambda descriptor: None))  # the system itself outlives these deaths
        monkeypatch.setattr(Path, "replace", stepping(real_replace))
        monkeypatch.setattr(Path, "unlink", stepping(real_unlink))

    def step(self) -> None:
        self.left -= 1
        if self.dead or self.left == 0:
            self.dead = True
            raise KilledError

    def dies_after(self, steps: int, share: float) -> None:
        self.left, self.share, self.dead = steps, share, False


def test_killed_at_any_step_of_writing_the_newest_is_whole_and_so_is_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, disk, deaths = random.Random(0), Disk(monkeypatch), 0
    folder, saved = CheckpointFolder(tmp_path, "run", 0), -1
    while deaths < 500:
        disk.dies_after(draw.randrange(1, 40), draw.random())
        number = saved + 1
        try:
            while True:
                folder.save(replace(checkpoint(number), keep=(number - 3,)))
                saved, number = number, number + 1
        except KilledError:
            deaths += 1
        disk.dies_after(-1, 0.0)
        kept, lost, _ = folder.survey()
        assert kept[-1:] in ([saved], [saved + 1]) if saved >= 0 else kept in ([], [0])
        assert kept[-2:] == list(range(kept[-1] + 1))[-2:] if kept else saved < 0
        assert lost in ([], [kept[-1] - 3] if kept else [])  # asked to be kept when it was gone already
        assert folder.damaged == []
        for number in kept:
            assert_is(folder.at(number), number)
        saved = kept[-1] if kept else -1


def _with_header(data: bytes, change: Any) -> bytes:
    """Return a checkpoint as another version may have written it: whole, with other facts."""
    size = int.from_bytes(data[32:40], "little")
    header = json.loads(data[40 : 40 + size])
    change(header)
    text = json.dumps(header).encode()
    body = len(text).to_bytes(8, "little") + text + data[40 + size :]
    return hashlib.sha256(body).digest() + body


CHANGES = {
    "no keep": lambda header: header.pop("keep"),
    "no number": lambda header: header.pop("number"),
    "no facts": lambda header: header.update(facts={}),
    "more of keys": lambda header: header["facts"]["trust"].update(version=2),
    "no sizes": lambda header: header.update(sizes=[]),
    "no state": lambda header: header["sizes"].pop("state"),
    "records of a kind": lambda header: header.update(records={"report": None}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_version_s_is_not_taken_and_said_to_be_one(tmp_path: Path, change: str) -> None:
    folder = CheckpointFolder(tmp_path, "run", 3)
    for number in (4, 5):
        folder.save(checkpoint(number))
    newest = max(tmp_path.iterdir())
    newest.write_bytes(_with_header(newest.read_bytes(), CHANGES[change]))
    assert folder.survey()[:2] == ([4], [5])
    assert "another version of dimat-flwr has written it" in folder.damaged[0]
    assert_is(folder.find(5), 4)


def test_what_a_killed_process_has_left_goes_with_the_next_that_writes_the_same(tmp_path: Path) -> None:
    halves = [tmp_path / f".peer-0-00000003.checkpoint.{process}" for process in (1, 22, 333)]
    other = tmp_path / ".peer-0-00000004.checkpoint.1"
    for half in (*halves, other):
        half.write_bytes(b"half")
    CheckpointFolder(tmp_path, "run", 0).save(checkpoint(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "peer-0-00000003.checkpoint"]


def test_the_newest_is_found_without_reading_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(tmp_path, "run", 0)
    for number in (1, 2):
        folder.save(checkpoint(number))
    read: list[str] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or real(path))  # type: ignore[func-returns-value]
    assert_is(folder.newest(), 2)
    assert read == ["peer-0-00000002.checkpoint"]
