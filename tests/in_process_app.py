"""The whole app (relay and peers) in this process, over a grid in memory: everything but Flower's transport."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, RecordDict

from apps.server_app import serve
from dimat_flwr.peer import handle_setup, handle_step
from dimat_flwr.records import load_summary
from dimat_flwr.wire import names
from tests.in_memory_grid import FunctionGrid

ROOT = Path(__file__).resolve().parent.parent
Intercept = Callable[[int, Message], None]


class Run:
    """A finished run's folder, read back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def summary(self) -> dict[str, Any]:
        return load_summary(self.folder)

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return all events (of one kind) sorted by round and peer, without what depends on the clock."""
        lines = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        found = [{k: v for k, v in line.items() if k != "seconds"} for line in lines if kind in (None, line["event"])]
        return sorted(found, key=lambda line: (line["round"], line.get("peer", -1)))


def run_app(
    output: Path,
    peers: int,
    *,
    conf_dir: Path = ROOT / "conf",
    intercept: Intercept | None = None,
    workers: int = 1,
    **run_config: Any,
) -> Run:
    """Run the app and return its results.

    Args:
        output: where results go; must be empty or absent.
        peers: number of peers.
        conf_dir: the configuration folder.
        intercept: called with (peer, reply) before a reply reaches the relay, to break it.
        workers: threads that run peers; more than one only where no peer draws first weights.
        run_config: Flower's run-config, with _ for -.
    """
    settings = {key.replace("_", "-"): value for key, value in run_config.items()} | {"output-dir": str(output)}

    def node(place: int) -> Callable[[Message], Message]:
        context = Context(1, 100 + place, {"partition-id": place}, RecordDict(), settings)

        def handle(message: Message) -> Message:
            is_setup = message.metadata.message_type == names.SETUP_MESSAGE
            reply = (handle_setup if is_setup else handle_step)(message, context, conf_dir)
            if intercept is not None and not is_setup:
                intercept(place, reply)
            return reply

        return handle

    grid = FunctionGrid({900 - place: node(place) for place in range(peers)}, workers)
    serve(grid, Context(1, 1, {}, RecordDict(), settings), ROOT, conf_dir)
    (folder,) = (path for path in output.iterdir() if path.is_dir())
    return Run(folder)
