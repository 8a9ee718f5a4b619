"""A worker does one errand after the other, and whatever is killed, the next one is done, and none twice at a time."""

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, RecordDict

from dimat_flwr.wire import names
from dimat_flwr.worker import ask
from dimat_flwr.worker.errors import LineError, NoWorkerError, WorkerError
from dimat_flwr.worker.line import Line
from dimat_flwr.worker.place import Place
from tests.in_process_app import ROOT
from tests.worker.asking import STUB, applicant, arrays, diary, do, errand, is_frozen, is_running, wait_for


def test_it_lives_on_and_gives_back_what_it_was_given(folder: Path) -> None:
    first, state = applicant(folder).have_done(errand(folder))
    second, state = applicant(folder).have_done(errand(folder, state=state))
    told = [reply.config_records["told"] for reply in (first, second)]
    assert told[0]["process"] == told[1]["process"] != os.getpid()
    assert told[0]["message"] == "kind"
    assert told[0]["conf"] == str(folder / "conf")
    assert (told[0]["rounds"], told[0]["threads"]) == (3, 1)
    assert state.config_records["counter"]["count"] == 2
    for found in (second.array_records["model"], state.array_records["model"]):
        assert found == arrays(300)
        assert type(found["w"].data) is bytes


def test_one_that_was_started_with_something_else_is_not_asked(folder: Path) -> None:
    old, new = do(folder, identity="one"), do(folder, identity="two")
    assert old != new
    wait_for(lambda: not is_running(old))
    assert do(folder, identity="two") == new


def test_an_errand_in_which_the_worker_dies_is_done_by_another_one(folder: Path) -> None:
    left = do(folder, "die", times=1)
    assert [what for what, _ in diary(folder)] == ["began", "began", "ended"]
    assert len({process for _, process in diary(folder)}) == 2
    assert do(folder) == left


@pytest.mark.slow
def test_an_errand_in_which_every_worker_dies_is_given_up(folder: Path) -> None:
    with pytest.raises(LineError):
        do(folder, "die", times=9)
    assert [what for what, _ in diary(folder)] == ["began", "began"]
    do(folder)


@pytest.mark.slow
def test_a_frozen_worker_is_killed_before_another_one_begins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks is patient, so that a slow machine is not taken for a frozen worker, until it is seen to be one."""
    who, lines = applicant(folder), list[Line]()
    admitted = who._admitted
    monkeypatch.setattr(who, "_admitted", lambda: lines.append(line := admitted()) or line)  # type: ignore[func-returns-value]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(who.have_done, errand(folder, "freeze", times=1))
        wait_for(lambda: any(is_frozen(process) for _, process in diary(folder)))
        lines[0].connection.settimeout(0.01)
        reply, _ = asked.result()
    frozen, new = dict.fromkeys(process for _, process in diary(folder))
    assert new == reply.config_records["told"]["process"]
    assert not is_running(frozen)


def test_one_that_gives_no_sign_of_life_from_its_start_on_is_killed_and_no_worker(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = applicant(folder)
    who._module = "tests.worker.mute"
    with monkeypatch.context() as patch:
        patch.setattr(ask, "Line", lambda connection, _: Line(connection, silence=0.5))
        with pytest.raises(NoWorkerError, match="no sign of life"):
            who.have_done(errand(folder))
    assert do(folder), "nobody holds the place any more"


@pytest.mark.slow
def test_a_worker_ends_with_the_process_that_asked(folder: Path) -> None:
    asking = subprocess.Popen(
        [sys.executable, "-m", "tests.worker.asking", str(folder), "sleep", "600"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    wait_for(lambda: diary(folder))
    ((_, worker),) = diary(folder)
    assert is_running(worker)
    asking.kill()
    asking.wait()
    wait_for(lambda: not is_running(worker))
    assert do(folder) != worker
    assert [what for what, _ in diary(folder)] == ["began", "began", "ended"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_worker_that_is_killed_between_two_errands_leaves_nothing_in_the_way(
    folder: Path, how: signal.Signals
) -> None:
    worker = do(folder)
    os.kill(worker, how)
    wait_for(lambda: not is_running(worker))
    assert Path(folder / ".worker-0" / "socket").is_socket()
    assert do(folder) != worker


def test_what_is_asked_at_once_is_done_one_after_the_other_by_one_worker(folder: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: do(folder, "sleep", seconds=0.1), range(4)))
    assert len(set(done)) == 1
    assert diary(folder) == [("began", done[0]), ("ended", done[0])] * 4


@pytest.mark.slow
def test_askers_with_different_identities_at_once_are_never_served_at_the_same_time(folder: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda i: do(folder, "sleep", identity=str(i % 2), seconds=0.1), range(4)))
    assert len(set(done)) >= 2
    written = diary(folder)
    assert [what for what, _ in written] == ["began", "ended"] * 4
    assert all(one[1] == other[1] for one, other in list(pairwise(written))[::2])


def test_one_that_has_nothing_to_do_ends(folder: Path) -> None:
    reply, _ = applicant(folder, idle=0.2).have_done(errand(folder))
    worker = int(reply.config_records["told"]["process"])
    wait_for(lambda: not is_running(worker))


def test_it_ends_with_the_supernode(folder: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    worker = Place(folder, "0").start(STUB, ("one", "600", str(gone.pid)))
    assert worker is not None
    assert worker.wait(timeout=60) == 0


def test_a_failure_is_told_and_is_the_worker_s_last(folder: Path) -> None:
    with pytest.raises(WorkerError, match="a fault of its own"):
        do(folder, "raise")
    ((_, worker),) = diary(folder)
    wait_for(lambda: not is_running(worker))
    assert do(folder) != worker


def test_one_that_ends_before_it_answers_is_no_worker(folder: Path) -> None:
    who = applicant(folder)
    who._module = "tests.worker.nowhere"
    with pytest.raises(NoWorkerError, match="ended with exit code 1"):
        who.have_done(errand(folder))


def test_a_worker_in_a_folder_with_a_name_too_long_for_a_socket(folder: Path) -> None:
    deep = folder / ("a" * 120) / ("b" * 120)
    deep.mkdir(parents=True)
    assert do(deep) == do(deep)


def test_a_folder_that_others_may_enter_is_refused(folder: Path) -> None:
    (folder / ".worker-0").mkdir(mode=0o700)
    (folder / ".worker-0").chmod(0o755)
    with pytest.raises(NoWorkerError, match="not a folder of this user alone"):
        Place(folder, "0")
    (folder / ".worker-1").symlink_to(folder)
    with pytest.raises(NoWorkerError, match="not a folder of this user alone"):
        Place(folder, "1")
    (folder / "file").write_text("")
    with pytest.raises(NoWorkerError, match="cannot be made"):
        Place(folder / "file", "0")


def test_nobody_else_may_enter_what_it_makes(folder: Path) -> None:
    do(folder)
    assert {path.name: path.stat().st_mode & 0o077 for path in folder.rglob(".worker-0")} == {".worker-0": 0}


def test_the_worker_s_place_is_no_run_s_folder() -> None:
    from dimat_flwr.wire.instruction import InstructionError, read_instruction

    record = ConfigRecord({"json": '{"peer": 0, "peers": 1, "run": ".worker-0", "simulation": false}'})
    with pytest.raises(InstructionError, match="run"):
        read_instruction(record)
    assert names.INSTRUCTION not in RecordDict()


def test_a_folder_that_is_gone_with_its_disk_leaves_the_message_to_be_done_without(folder: Path) -> None:
    place = Place(folder, "0")
    shutil.rmtree(folder / ".worker-0")
    with pytest.raises(NoWorkerError, match="cannot be ended: No such file"):
        place.end()
