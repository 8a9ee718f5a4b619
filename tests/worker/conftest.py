"""A place for a worker, which is ended with the test."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.worker.asking import is_running, wait_for

if sys.platform != "linux":
    collect_ignore_glob = ["test_*"]  # the tests look for processes in /proc


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return an empty folder; nothing runs for it any more after the test."""
    yield tmp_path
    left = [int(lock.read_text()) for lock in tmp_path.rglob(".worker-*/lock") if lock.read_text()]
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    wait_for(lambda: not any(map(is_running, left)))
