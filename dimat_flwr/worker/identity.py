"""What a worker must have been started with to be asked: the same run, device, configuration, code and environment."""

import hashlib
import json
import os
import sys
from pathlib import Path

from flwr.app import Context

_CODE = ("apps", "dimat_flwr", "conf")
_SUFFIXES = (".py", ".yaml")


def identity(context: Context, app_dir: Path) -> str:
    """Return a digest of all that a worker's answers depend on besides the message and the state.

    The environment is that of the SuperNode, and the same for all messages; the code is looked at anew each time.

    Args:
        context: Flower's, of a message.
        app_dir: the folder of the app as Flower has installed it.
    """
    facts = {
        "run": context.run_id,
        "node": context.node_id,
        "run_config": dict(context.run_config),
        "node_config": dict(context.node_config),
        "code": _code(app_dir),
        "python": [sys.executable, sys.version, *sys.path],
        "environment": dict(os.environ),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode(errors="surrogatepass")).hexdigest()


def _code(app_dir: Path) -> list[tuple[str, str]]:
    paths = [path for folder in _CODE for path in (app_dir / folder).rglob("*") if path.suffix in _SUFFIXES]
    return [(str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in sorted(paths)]
