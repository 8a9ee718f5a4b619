"""How many cells are run at a time, and where: cores and GPU memory decide."""

import os
import shutil
from collections.abc import Mapping, Sequence

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_OF_A_PROCESS = 600_000_000  # bytes that CUDA itself takes on the GPU for a process
_SPARE = 0.9  # share of the free memory of a GPU that is planned with
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def may_have_gpu() -> bool:
    """Whether it is worth asking torch for a GPU, which takes seconds."""
    return os.environ.get(_VISIBLE, "0") not in ("", "-1") and (
        shutil.which("nvidia-smi") is not None or os.path.exists("/dev/nvidiactl")
    )


def environments(jobs: int, gpus: int) -> list[Mapping[str, str]]:
    """Return what each process adds to its environment: one thread, and one of the GPUs in turn.

    Args:
        jobs: number of processes.
        gpus: how many GPUs this process sees.
    """
    if not gpus:
        return [_ONE_THREAD] * jobs
    names = os.environ.get(_VISIBLE, ",".join(map(str, range(gpus)))).split(",")
    return [{**_ONE_THREAD, _VISIBLE: names[k % len(names)]} for k in range(jobs)]


def jobs_that_fit(free: Sequence[int], needed: int) -> int:
    """Return how many cells fit into the GPUs' memory at a time, at least one.

    Args:
        free: bytes that are free on each GPU.
        needed: bytes that torch reserves for one cell.
    """
    return max(1, sum(int(_SPARE * bytes) // (needed + _OF_A_PROCESS) for bytes in free))
