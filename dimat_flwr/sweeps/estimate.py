"""What a sweep would take on this machine, from what the parts of its cells cost.

What a peer does on its own is measured once for all cells in which it is the same (``Size.work``), in as many processes
at a time as will run cells, since they slow each other down; what an algorithm's exchanges cost, in one cell of each
kind.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dimat_flwr.records.headline import readable_bytes, readable_time
from dimat_flwr.sweeps.crew import Crew, Failed
from dimat_flwr.sweeps.errors import SweepError
from dimat_flwr.sweeps.hands import environments
from dimat_flwr.sweeps.job import PREPARE, Exchanges, Job, Size, Span, Work
from dimat_flwr.sweeps.sweep import Asked, checked

_SIZE = "dimat_flwr.sweeps.counting:size"
_WORK, _EXCHANGES = "dimat_flwr.sweeps.measuring:work", "dimat_flwr.sweeps.watching:exchanges"
# What an algorithm's exchanges cost by; splits, graphs and seeds change how many there are.
_KIND = ("algorithm", "compat", "dataset", "model", "model.width", "peers", "experiment", "communication")
_OF_A_STATE = 3  # payloads: a model and the two moments of Adam
_OF_A_RUN, _OF_A_MESSAGE = 400_000, 600  # bytes of a run's record: plots and report, and events


@dataclass(frozen=True)
class Estimate:
    """What the cells of one kind would take.

    Attributes:
        kind: key -> value, of those in which the kinds differ.
        cells: how many runs there are of it.
        seconds: of all its cells, one after the other in one process.
        round_seconds: the least of a round, of all peers one after the other, what is evaluated shared out to all; a
            mean over its cells.
        sent_bytes: of all its cells.
        disk_bytes: of all its cells.
        memory_bytes: the largest that a process was; None where the system does not tell.
        gpu_bytes: the most that torch reserved on the GPU; None without one.
    """

    kind: dict[str, object]
    cells: int
    seconds: Span
    round_seconds: float
    sent_bytes: int
    disk_bytes: int
    memory_bytes: int | None
    gpu_bytes: int | None


def estimate(asked: Asked, jobs: int, gpus: int, say: Callable[[str], None]) -> list[Estimate]:
    """Return what a sweep would take.

    Args:
        asked: the sweep.
        jobs: how many cells are run at a time.
        gpus: how many GPUs there are.
        say: takes a line on what is being done.

    Raises:
        SweepError: a cell has faults, its data are missing, or what is measured fails.
    """
    with Crew(environments(jobs, gpus), PREPARE) as crew:
        runs = {one.id: cell for one, cell in zip(checked(asked, crew, say), asked.grid.cells, strict=True)}
        cells = list(runs.values())
        jobs_of = [asked.job(cell) for cell in cells]
        sizes = _results(crew, _SIZE, jobs_of)
        kinds: dict[str, list[int]] = {}
        works: dict[str, list[int]] = {}
        for number, cell in enumerate(cells):
            kind = {key: cell.values[key] for key in _KIND if key in cell.values and key in asked.grid.axes}
            kinds.setdefault(json.dumps(kind), []).append(number)
            works.setdefault(sizes[number].work, []).append(number)
        alone, together = (len(groups) for groups in (works, kinds))
        say(f"{len(cells)} cells of {together} kinds; peers train and are evaluated in {alone} ways among them")
        tried = _results(crew, _WORK, [jobs_of[numbers[0]] for numbers in works.values() for _ in range(jobs)], say)
        done = {work: _joined(tried[jobs * k : jobs * (k + 1)]) for k, work in enumerate(works)}
        exchanges = _results(crew, _EXCHANGES, [jobs_of[numbers[0]] for numbers in kinds.values()], say)
    return [
        _of_a_kind(json.loads(kind), [sizes[number] for number in numbers], done, passed)
        for (kind, numbers), passed in zip(kinds.items(), exchanges, strict=True)
    ]


def markdown(estimates: list[Estimate], jobs: int) -> str:
    """Return the estimates as a table, with what they come to below it."""
    lines = [
        "| cells of | cells | s a round | time a cell | bytes sent a cell | memory | GPU memory |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    for one in estimates:
        name = " ".join(f"{key}={value}" for key, value in one.kind.items()) or "the sweep"
        memory, gpu = (_bytes(count) for count in (one.memory_bytes, one.gpu_bytes))
        lines.append(
            f"| {name} | {one.cells} | {one.round_seconds:.1f} | {_between(one.seconds, one.cells)} | "
            f"{readable_bytes(one.sent_bytes / one.cells)} | {memory} | {gpu} |"
        )
    whole = Span(sum(one.seconds.least for one in estimates), sum(one.seconds.median for one in estimates))
    room = readable_bytes(sum(one.disk_bytes for one in estimates))
    lines.append(
        f"\nin all {_between(whole, 1)} of one process, {_between(whole, jobs)} with {jobs} at a time on this machine; "
        f"{room} on disk\nthe shorter time is by the fastest repetition of each part that was measured, the longer by "
        "their median"
    )
    return "\n".join(lines)


def _joined(works: Sequence[Work]) -> Work:
    """Return what the same work costs, of what several processes found at the same time."""

    def span(spans: list[Span]) -> Span:
        return Span(min(one.least for one in spans), max(one.median for one in spans))

    return Work(
        step=span([work.step for work in works]),
        test=span([work.test for work in works]),
        recalibration=span([work.recalibration for work in works]),
        memory_bytes=_largest(*(work.memory_bytes for work in works)),
        gpu_bytes=_largest(*(work.gpu_bytes for work in works)),
        seconds=max(work.seconds for work in works),
    )


def _of_a_kind(kind: dict[str, object], sizes: list[Size], works: dict[str, Work], passed: Exchanges) -> Estimate:
    done = [works[size.work] for size in sizes]
    seconds, rounds = [], []
    for end in ("least", "median"):
        found = [_seconds(size, work, passed, end) for size, work in zip(sizes, done, strict=True)]
        seconds.append(sum(alone + after for alone, after in found))
        rounds.append(sum(after / max(1, size.rounds) for (_, after), size in zip(found, sizes, strict=True)))
    return Estimate(
        kind,
        len(sizes),
        Span(*seconds),
        rounds[0] / len(sizes),
        sum(size.sent * passed.payload for size in sizes),
        sum(size.peers * passed.payload + _OF_A_RUN + size.messages * _OF_A_MESSAGE for size in sizes),
        _largest(
            passed.memory_bytes, *(_with_states(work, size, passed) for work, size in zip(done, sizes, strict=True))
        ),
        _largest(passed.gpu_bytes, *(work.gpu_bytes for work in done)),
    )


def _seconds(size: Size, work: Work, passed: Exchanges, end: str) -> tuple[float, float]:
    """Return what a cell takes before its first exchange, and what it takes afterwards."""
    step, test, recalibration, mix = (
        getattr(span, end) for span in (work.step, work.test, work.recalibration, passed.mix)
    )
    merged = passed.evaluations * size.evaluated + size.peers  # and each peer at the end of the run
    alone = size.alone * step + size.peers * size.tests * test
    looked = merged * (size.tests * test + size.recalibrated * recalibration)
    return alone, size.steps * passed.gradients * step + looked + size.mixed * mix


def _with_states(work: Work, size: Size, passed: Exchanges) -> int | None:
    """Return the memory of a process that trains while it holds what all peers keep: its own was one peer's."""
    return None if work.memory_bytes is None else work.memory_bytes + _OF_A_STATE * size.peers * passed.payload


def _results(crew: Crew, function: str, tasks: list[Job], say: Callable[[str], None] | None = None) -> list[Any]:
    found: dict[int, Any] = {}
    for number, result in crew.work(function, tasks):
        if isinstance(result, Failed):
            raise SweepError(result.reason)
        found[number] = result
        if say is not None:
            what = "work of a peer" if function == _WORK else "exchanges"
            say(f"{what}: {len(found)}/{len(tasks)} measured, the last in {readable_time(result.seconds)}")
    return [found[number] for number in range(len(tasks))]


def _between(span: Span, parts: int) -> str:
    least, median = readable_time(span.least / parts), readable_time(span.median / parts)
    return least if least == median else f"{least} to {median}"


def _largest(*sizes: int | None) -> int | None:
    return max((size for size in sizes if size is not None), default=None)


def _bytes(count: int | None) -> str:
    return "–" if count is None else readable_bytes(count)
