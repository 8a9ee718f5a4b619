"""What passes between a sweep and its processes: a cell to check or run, and how it went."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# What the processes import and call.
WORK = "dimat_flwr.sweeps.cell_work"
PREPARE = f"{WORK}:prepare"


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
class Checked:
    """What is known of a cell before it is run.

    Attributes:
        id: its identity.
        missing: what its data lack on this machine, None for nothing; a cell that is finished needs none.
    """

    id: str
    missing: str | None


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


@dataclass(frozen=True)
class Size:
    """What there is to do in a cell, over all of its peers.

    Attributes:
        work: what training and looking at a model cost by: cells in which it is the same cost the same there.
        alone: minibatches trained on before the first exchange.
        steps: those after it.
        evaluated: rounds of peers that are evaluated, but for the last one.
        tests: test samples.
        recalibrated: training inputs that BatchNorm's statistics are measured on when somebody looks at a merged model.
        mixed: models that take part in merges, a peer's own ones included.
        sent: payloads that cross an edge.
        rounds: of the run.
        peers: how many.
        messages: exchanges of all peers.
    """

    work: str
    alone: int
    steps: int
    evaluated: int
    tests: int
    recalibrated: int
    mixed: int
    sent: int
    rounds: int
    peers: int
    messages: int


@dataclass(frozen=True)
class Span:
    """Seconds that the same thing took, done several times: those of the fastest time, and the median."""

    least: float
    median: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Span":
        """Return what one measurement or more say."""
        return cls(min(seconds), statistics.median(seconds))


@dataclass(frozen=True)
class Work:
    """What a peer's work on its own model costs on this machine, in one process.

    Attributes:
        step: for a minibatch.
        test: for a test sample.
        recalibration: for a training input that BatchNorm's statistics are measured on.
        memory_bytes: the largest that the process was; None where the system does not tell.
        gpu_bytes: the most that torch reserved on the GPU; None without one.
        seconds: that measuring took.
    """

    step: Span
    test: Span
    recalibration: Span
    memory_bytes: int | None
    gpu_bytes: int | None
    seconds: float


@dataclass(frozen=True)
class Exchanges:
    """What an algorithm's exchanges cost on this machine, in one process, and what else it does in a round.

    Attributes:
        mix: for a model in a merge, with all that a message takes beside training and evaluation; nothing where no
            exchange has an edge.
        gradients: minibatches in a round for each local step.
        evaluations: of a round that is evaluated.
        payload: bytes of a payload.
        memory_bytes: see ``Work``, as for the others.
    """

    mix: Span
    gradients: int
    evaluations: int
    payload: int
    memory_bytes: int | None
    gpu_bytes: int | None
    seconds: float
