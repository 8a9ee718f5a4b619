"""How many cells are run at a time, and where: cores and GPU memory decide."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dimat_flwr import nvidia
from dimat_flwr.sweeps.crew import Crew, Failed
from dimat_flwr.sweeps.errors import SweepError
from dimat_flwr.sweeps.job import PREPARE, WORK

if TYPE_CHECKING:
    from dimat_flwr.sweeps.sweep import Asked

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_OF_A_PROCESS = 600_000_000  # bytes that CUDA itself takes on the GPU for a process
_SPARE = 0.9  # share of the free memory of a GPU that is planned with


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_gpus() -> list[int]:
    """Return the bytes that are free on each GPU that this process sees; empty without any.

    Asking torch takes seconds, and is done in a process of its own where there may be one.
    """
    if nvidia.hidden() or not nvidia.has_gpu():
        return []
    with Crew([_ONE_THREAD], PREPARE) as crew:
        ((_, free),) = crew.work(f"{WORK}:free_gpu_bytes", [None])
    if isinstance(free, Failed):
        raise SweepError(f"the GPUs do not say how much memory is free: {free.reason}")
    found: list[int] = free
    return found


def environments(jobs: int, gpus: int) -> list[Mapping[str, str]]:
    """Return what each process adds to its environment: one thread, and one of the GPUs in turn.

    Args:
        jobs: number of processes.
        gpus: how many GPUs this process sees.
    """
    if not gpus:
        return [_ONE_THREAD] * jobs
    # What is named after a bad name is not seen.
    names = os.environ.get(nvidia.VISIBLE, ",".join(map(str, range(gpus)))).split(",")[:gpus]
    return [{**_ONE_THREAD, nvidia.VISIBLE: names[k % len(names)]} for k in range(jobs)]


def jobs_that_fit(free: Sequence[int], asked: "Asked") -> int:
    """Return how many cells fit into the GPUs' memory at a time, at least one; parts of one cell are run for it.

    Args:
        free: bytes that are free on each GPU.
        asked: the sweep, whose cells are taken to need as much as its first.

    Raises:
        SweepError: the parts fail.
    """
    needed = 0
    with Crew(environments(1, len(free)), PREPARE) as crew:
        for part in ("measuring:work", "watching:exchanges"):
            ((_, found),) = crew.work(f"dimat_flwr.sweeps.{part}", [asked.job(asked.grid.cells[0])])
            if isinstance(found, Failed):
                raise SweepError(found.reason)
            needed = max(needed, found.gpu_bytes or 0)
    return max(1, sum(int(_SPARE * bytes) // (needed + _OF_A_PROCESS) for bytes in free))
