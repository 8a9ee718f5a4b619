"""A device's worker, started by the first message of a run; see ``dimat_flwr.worker``."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.app import RecordDict

from dimat_flwr.worker.serve import serve


def _handle(kind: str, content: RecordDict, state: RecordDict, run_config: Mapping[str, Any],
            node_config: Mapping[str, Any], conf_dir: Path) -> RecordDict:  # fmt: skip
    from dimat_flwr.peer import handle  # here: whoever waits hears from this process while it loads torch

    return handle(kind, content, state, run_config, node_config, conf_dir)


if __name__ == "__main__":
    serve(_handle, sys.argv[1:])
