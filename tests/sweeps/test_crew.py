"""Warm processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dimat_flwr.sweeps.crew import Crew, Failed

TASKS = "tests.sweeps.tasks"


def lives(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(true, seconds=300):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


@pytest.mark.slow
def test_tasks_are_shared_out_and_a_failure_is_its_own():
    with Crew([{"WHERE": "a"}, {"WHERE": "b"}], f"{TASKS}:prepare") as crew:
        begun = []
        results = dict(crew.work(f"{TASKS}:double", [1, -1, 2, 99, 3, 4], begun.append))
        again = dict(crew.work(f"{TASKS}:double", [5, 6]))
    assert sorted(begun) == list(range(6))
    assert [results[k][0] for k in (0, 2, 4, 5)] == [2, 4, 6, 8]
    assert isinstance(results[1], Failed)
    assert results[1].reason == "-1 is too small"
    assert "ValueError" in results[1].traceback
    assert results[3].reason.startswith("its process was ended by SIGKILL")
    assert {result[2] for result in again.values()} == {"x"}, "prepared once for each process"
    processes = {result[1] for result in [*again.values(), *(results[k] for k in (0, 2, 4, 5))]}
    assert len(processes) <= 3, "two, and one in the place of the one that died"
    assert not any(map(lives, processes))


def test_no_process_outlives_the_one_that_was_killed(tmp_path):
    marker = tmp_path / "pid"
    code = (
        "from dimat_flwr.sweeps.crew import Crew\n"
        "if __name__ == '__main__':\n"
        f"    with Crew([{{}}], '{TASKS}:prepare') as crew:\n"
        f"        list(crew.work('{TASKS}:sleep', [{str(marker)!r}]))\n"
    )
    script = tmp_path / "caller.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    caller = subprocess.Popen([sys.executable, str(script)], env=environment)
    try:
        assert wait_until(marker.is_file)
        worker = int(marker.read_text())
        assert lives(worker)
    finally:
        caller.kill()
        caller.wait()
    assert wait_until(lambda: not lives(worker))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_exception_ends_the_processes_too(tmp_path, error):
    marker = tmp_path / "pid"

    def work():
        with Crew([{}], f"{TASKS}:prepare") as crew:
            next(crew.work(f"{TASKS}:sleep", [str(marker)], stop))

    def stop(number):
        assert wait_until(marker.is_file)
        raise error

    with pytest.raises(error):
        work()
    assert not lives(int(marker.read_text()))
