"""The whole app (relay and peers) in this process, over a local post: everything but Flower's transport."""

import json
from pathlib import Path
from typing import Any

from dimat_flwr.launch import launch
from dimat_flwr.local import LocalPost
from dimat_flwr.local.post import Intercept
from dimat_flwr.records import load_summary
from dimat_flwr.relay import run_relay

ROOT = Path(__file__).resolve().parent.parent
CLOCKED = ("seconds",)


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
        found = [{k: v for k, v in line.items() if k not in CLOCKED} for line in lines if kind in (None, line["event"])]
        return sorted(found, key=lambda line: (line["round"], line["peer"]))

    def model(self, peer: int) -> dict[str, Any]:
        from safetensors.torch import load_file

        return load_file(self.folder / "models" / f"peer-{peer}.safetensors")


def run_app(
    output: Path,
    peers: int,
    *,
    conf_dir: Path = ROOT / "conf",
    intercept: Intercept | None = None,
    simulation: bool = True,
    **run_config: Any,
) -> Run:
    """Run the app and return its results.

    Args:
        output: where results go; must be empty or absent.
        peers: number of peers.
        conf_dir: the configuration folder.
        intercept: called with (peer, kind, reply) before a reply reaches the relay, to change it.
        simulation: whether the relay is told that it is one.
        run_config: Flower's run-config, with _ for - where it has one.
    """
    dashed = {"data_dir": "data-dir", "output_dir": "output-dir"}
    settings = {dashed.get(key, key): value for key, value in run_config.items()} | {"output-dir": str(output)}
    post = LocalPost(peers, settings, conf_dir, intercept)
    post.simulation = simulation
    return Run(launch(settings, conf_dir, "pytest", lambda *run: run_relay(post, *run)))
