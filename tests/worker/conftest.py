"""A place for a worker, which is ended with the test."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dimat_flwr.worker.place import Place

if sys.platform != "linux":
    collect_ignore_glob = ["test_*"]  # the tests look for processes in /proc


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return an empty folder; nothing runs for it any more after the test."""
    yield tmp_path
    for lock in tmp_path.rglob(".worker-*/lock"):  # who holds it, not who got its number since
        Place(lock.parent.parent, lock.parent.name.removeprefix(".worker-")).end()
