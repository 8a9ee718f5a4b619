"""What a sweep would take on this machine, from one round of one cell of each kind."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dimat_flwr.records.headline import readable_bytes, readable_time
from dimat_flwr.sweeps.crew import Crew, Failed
from dimat_flwr.sweeps.errors import SweepError
from dimat_flwr.sweeps.hands import environments
from dimat_flwr.sweeps.job import PREPARE, Job, Rates, Size
from dimat_flwr.sweeps.sweep import Asked, checked

_MEASURE, _SIZE = "dimat_flwr.sweeps.measuring:measure", "dimat_flwr.sweeps.measuring:size"
# What a round's parts cost by; splits, graphs and seeds change how many parts there are.
_KIND = ("algorithm", "dataset", "model", "model.width", "peers", "experiment", "communication")
_OF_A_RUN, _OF_A_MESSAGE = 400_000, 600  # bytes of a run's record: plots and report, and events


@dataclass(frozen=True)
class Estimate:
    """What the cells of one kind would take.

    Attributes:
        kind: key -> value, of those in which the kinds differ.
        cells: how many runs there are of it.
        rates: measured.
        seconds: of all its cells, one after the other in one process.
        round_seconds: of a round, of all peers one after the other, what is evaluated shared out to all; a mean over
            its cells.
        sent_bytes: of all its cells.
        disk_bytes: of all its cells.
    """

    kind: dict[str, object]
    cells: int
    rates: Rates
    seconds: float
    round_seconds: float
    sent_bytes: int
    disk_bytes: int


def estimate(asked: Asked, jobs: int, gpus: int, say: Callable[[str], None]) -> list[Estimate]:
    """Return what a sweep would take.

    Args:
        asked: the sweep.
        jobs: how many cells are measured at a time.
        gpus: how many GPUs there are.
        say: takes a line on what is being done.

    Raises:
        SweepError: a cell has faults, its data are missing, or its round fails.
    """
    with Crew(environments(jobs, gpus), PREPARE) as crew:
        runs = {one.id: cell for one, cell in zip(checked(asked, crew), asked.grid.cells, strict=True)}
        cells = list(runs.values())
        sizes = _results(crew, _SIZE, [asked.job(cell) for cell in cells])
        kinds: dict[str, list[int]] = {}
        for number, cell in enumerate(cells):
            kind = {key: cell.values[key] for key in _KIND if key in cell.values and key in asked.grid.axes}
            kinds.setdefault(json.dumps(kind), []).append(number)
        say(f"{len(cells)} cells of {len(kinds)} kinds; one round of one of each is measured")
        first = [asked.job(cells[numbers[0]]) for numbers in kinds.values()]
        rates = _results(crew, _MEASURE, first, say)
    return [
        _of_a_kind(json.loads(kind), [sizes[number] for number in numbers], rate)
        for (kind, numbers), rate in zip(kinds.items(), rates, strict=True)
    ]


def markdown(estimates: list[Estimate], jobs: int) -> str:
    """Return the estimates as a table, with what they come to below it."""
    lines = [
        "| cells of | cells | s a round | time a cell | bytes sent a cell | memory | GPU memory |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    for one in estimates:
        name = " ".join(f"{key}={value}" for key, value in one.kind.items()) or "the sweep"
        memory, gpu = (_bytes(count) for count in (one.rates.memory_bytes, one.rates.gpu_bytes))
        lines.append(
            f"| {name} | {one.cells} | {one.round_seconds:.1f} | {readable_time(one.seconds / one.cells)} | "
            f"{readable_bytes(one.sent_bytes / one.cells)} | {memory} | {gpu} |"
        )
    seconds = sum(one.seconds for one in estimates)
    disk = sum(one.disk_bytes for one in estimates)
    whole, shared, room = readable_time(seconds), readable_time(seconds / jobs), readable_bytes(disk)
    lines.append(f"\nin all {whole} of one process, {shared} with {jobs} at a time on this machine; {room} on disk")
    return "\n".join(lines)


def _of_a_kind(kind: dict[str, object], sizes: list[Size], rates: Rates) -> Estimate:
    def in_rounds(size: Size) -> float:
        return size.steps * rates.step + size.tested * rates.test + size.mixed * rates.mix

    return Estimate(
        kind,
        len(sizes),
        rates,
        sum(size.alone * rates.step + in_rounds(size) for size in sizes),
        sum(in_rounds(size) / max(1, size.rounds) for size in sizes) / len(sizes),
        sum(size.sent * rates.payload for size in sizes),
        sum(size.peers * rates.payload + _OF_A_RUN + size.messages * _OF_A_MESSAGE for size in sizes),
    )


def _results(crew: Crew, function: str, tasks: list[Job], say: Callable[[str], None] | None = None) -> list[Any]:
    found: dict[int, Any] = {}
    for number, result in crew.work(function, tasks):
        if isinstance(result, Failed):
            raise SweepError(result.reason)
        found[number] = result
        if say is not None:
            say(f"{len(found)}/{len(tasks)} measured, the last in {readable_time(result.seconds)}")
    return [found[number] for number in range(len(tasks))]


def _bytes(count: int | None) -> str:
    return "–" if count is None else readable_bytes(count)
