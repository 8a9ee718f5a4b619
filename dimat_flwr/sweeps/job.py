"""What passes between a sweep and its processes: a cell to check or run, and how it went."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One cell to check or to run.

    Attributes:
        run_config: Flower's, with all overrides of the cell.
        peers: how many.
        command: what makes this run alone.
        axes: the keys in which the cells of the sweep differ.
        folder: where the run's folder shall be; None where nothing is run.
    """

    run_config: dict[str, str]
    peers: int
    command: str
    axes: tuple[str, ...]
    folder: Path | None = None


@dataclass(frozen=True)
class Ran:
    """How a cell went.

    Attributes:
        status: of the run's summary.
        reason: why it is not completed.
        accuracy: final accuracy in percent, None without one.
        seconds: wall-clock time of the run, its record included.
        processor_seconds: processor time of the same.
        memory_bytes: the largest that the process was meanwhile; None where the system does not tell.
        gpu_bytes: the most that torch had allocated on the GPU; None without one.
    """

    status: str
    reason: str | None
    accuracy: float | None
    seconds: float
    processor_seconds: float
    memory_bytes: int | None
    gpu_bytes: int | None
