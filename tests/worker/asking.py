"""Asking a worker for the errands of ``stub``, as the process does that Flower starts for a message."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from dimat_flwr.worker.ask import Applicant
from dimat_flwr.worker.errand import Errand
from dimat_flwr.worker.place import Place

STUB = "tests.worker.stub"


def errand(folder: Path, do: str = "tell", state: RecordDict | None = None, **more: Any) -> Errand:
    asked = ConfigRecord({"do": do, "diary": str(folder / "diary"), **more})
    content = RecordDict({"asked": asked, "model": arrays(300)})
    return Errand("kind", content, state or RecordDict(), {"rounds": 3}, {"threads": 1}, folder / "conf")


def arrays(size: int) -> ArrayRecord:
    return ArrayRecord({"w": Array(np.arange(size, dtype=np.float32)), "empty": Array("uint8", (0,), "mine", b"")})


def applicant(folder: Path, identity: str = "one", idle: float = 600.0, silence: float = 60.0) -> Applicant:
    return Applicant(Place(folder, "0"), identity, idle, module=STUB, silence=silence)


def do(folder: Path, what: str = "tell", identity: str = "one", **more: Any) -> int:
    """Have something done by the worker of a folder and return the number of its process."""
    reply, _ = applicant(folder, identity).have_done(errand(folder, what, **more))
    return int(reply.config_records["told"]["process"])


def diary(folder: Path) -> list[tuple[str, int]]:
    path = folder / "diary"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line.split()[0], int(line.split()[1])) for line in lines]


def is_running(process: int) -> bool:
    return _state(process) not in "ZX"


def is_frozen(process: int) -> bool:
    return _state(process) == "T"


def _state(process: int) -> str:
    """Return Linux's letter for how a process is; X if it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return "X"


def wait_for(what: Callable[[], object], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)


if __name__ == "__main__":  # a process of its own that asks, and can be killed
    print(do(Path(sys.argv[1]), sys.argv[2], seconds=float(sys.argv[3])), os.getpid())
