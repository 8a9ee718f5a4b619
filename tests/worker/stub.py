"""A worker whose errands say themselves what is to be done with them; nothing of it is slow."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, RecordDict

from dimat_flwr.worker.serve import serve


def handle(
    kind: str, content: RecordDict, state: RecordDict, run_config: Mapping[str, Any], node_config: Mapping[str, Any],
    conf_dir: Path,
) -> RecordDict:  # fmt: skip
    """Do what the message says, write down in its file when it began and ended, and tell of the process."""
    asked = content.config_records["asked"]
    diary = Path(str(asked["diary"]))
    times = diary.read_text().count("began") if diary.exists() else 0
    _write(diary, "began")
    match asked["do"]:
        case "sleep":
            time.sleep(float(asked["seconds"]))
        case "raise":
            raise KeyError("a fault of its own")
        case "die" if times < int(asked["times"]):
            os.kill(os.getpid(), signal.SIGKILL)
        case "freeze" if times < int(asked["times"]):
            os.kill(os.getpid(), signal.SIGSTOP)
    _write(diary, "ended")
    counted = int(state.config_records["counter"]["count"]) if "counter" in state else 0
    state["counter"] = ConfigRecord({"count": counted + 1})
    for name, record in content.array_records.items():
        state[name] = record
    told = ConfigRecord({"process": os.getpid(), "message": kind, "conf": str(conf_dir), **run_config, **node_config})
    return RecordDict({"told": told, **content.array_records})


def _write(diary: Path, what: str) -> None:
    with diary.open("a") as file:
        file.write(f"{what} {os.getpid()}\n")


if __name__ == "__main__":
    serve(handle, sys.argv[1:])
