"""One run from the relay's side, written down from its first to its last moment whatever happens in between."""

from collections.abc import Callable, Mapping
from logging import getLogger
from typing import Any

from flwr.serverapp import Grid

from dimat_flwr.records import RunFolder
from dimat_flwr.relay.plan import Step
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.relay.strategy import Relay
from dimat_flwr.topology import spectral_gap
from dimat_flwr.wire.report import Event

_log = getLogger("flwr")


class _Recorder:
    """Writes a run into its folder and keeps the summary current."""

    def __init__(self, folder: RunFolder, facts: Mapping[str, Any]) -> None:
        self.folder, self.facts = folder, dict(facts)

    def event(self, event: Event) -> None:
        self.folder.event(event)

    def edge_bytes(self, round_number: int, phase: str, source: int, target: int, count: int) -> None:
        self.folder.edge_bytes(round_number, phase, source, target, count)

    def round_finished(self, round_number: int) -> None:
        self.summarize("running")

    def summarize(self, status: str, reason: str | None = None) -> dict[str, Any]:
        return self.folder.write_summary({**self.facts, "status": status, "reason": reason})


def is_simulation(grid: Grid) -> bool:
    """Whether all peers run in one Flower simulation, as its grid tells."""
    # Imported here: it takes a second, and peers, who import this room's settings, never ask.
    from flwr.superlink.grid.inmemory_grid import InMemoryGrid

    return isinstance(grid, InMemoryGrid)


def run_relay(
    grid: Grid,
    folder: RunFolder,
    plan: Callable[[int], list[Step]],
    *,
    settings: RelaySettings,
    facts: Mapping[str, Any],
    simulation: bool,
) -> dict[str, Any]:
    """Relay one run and return its summary; also when it fails, everything so far is on disk.

    Args:
        grid: Flower's way to the nodes.
        folder: where the run is written down.
        plan: number of peers -> exchanges; errors of it end the run before any peer trains.
        settings: how long to wait for whom.
        facts: what the summary says of the run besides what happened in it.
        simulation: whether all peers run in one Flower simulation.
    """
    recorder = _Recorder(folder, facts)

    def described_plan(peers: int) -> list[Step]:
        steps = plan(peers)
        recorder.facts |= _describe(peers, steps)
        recorder.summarize("running")
        return steps

    relay = Relay(
        plan=described_plan, settings=settings, recorder=recorder, run_name=folder.path.name, simulation=simulation
    )
    try:
        relay.start(grid)
    except BaseException as error:
        # Also an interrupt leaves a record of how far it came.
        recorder.summarize("failed", f"{type(error).__name__}: {error}")
        folder.plots()
        raise
    summary = recorder.summarize("completed")
    folder.plots()
    return summary


def _describe(peers: int, steps: list[Step]) -> dict[str, Any]:
    """Return the graph's figures for the record and log them; the first exchange stands for those like it."""
    first = next((step.mixing for step in steps if step.mixing.edges), None)
    if first is None:
        _log.info("%d peers, no exchange at all", peers)
        return {"peers": peers, "spectral_gap": None, "edges": []}
    gap = spectral_gap(first.matrix)
    _log.info("%d peers, %d directed edges, spectral gap %.4f", peers, len(first.edges), gap)
    edges = [[source, target, float(first.matrix[target, source])] for source, target in first.edges]
    return {"peers": peers, "spectral_gap": gap, "edges": edges}
