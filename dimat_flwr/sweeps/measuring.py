"""What a peer's work on its own model costs on this machine; in a process of the crew.

Training, evaluation and recalibration are measured without a run: they are the same for all algorithms.

On a processor, the time that counts is the process's own, of one thread: others at work beside it are not in it. On a
GPU, and with several threads, it is that of the wall's clock.
"""

import shlex
import time
from collections.abc import Callable

import torch

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.config import Config, load_config
from dimat_flwr.peer.corrected import train_corrected
from dimat_flwr.peer.learner import Learner
from dimat_flwr.peer.state import PeerState
from dimat_flwr.sweeps.cell_work import forget_size, largest_gpu_size, largest_size
from dimat_flwr.sweeps.job import Job, Span, Work

ENOUGH_S = 2.0  # of one part: what is done sooner is done again
_LOOKED_AT = 100  # test samples, and inputs to recalibrate on


def work(job: Job) -> Work:
    """Return what a peer's work on its own model costs: on one minibatch, and on some test samples and own inputs."""
    began = time.perf_counter()
    cut = [
        "training.local_steps=1", f"dataset.test_samples={_LOOKED_AT}", "batchnorm.policy=recalibrate",
        f"batchnorm.samples={_LOOKED_AT}", "batchnorm.frozen=false",  # which hardly changes what a minibatch costs
    ]  # fmt: skip
    config = load_config(shortened(job, *cut), {}, find_conf_dir())
    forget_size()
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    learner = Learner(config, PeerState(), peer=0, peers=job.peers, round=1, rounds=1, simulation=True)
    slots: dict[str, dict[str, torch.Tensor]] = {}
    own = learner.state_dict()

    def train() -> None:
        train_corrected(learner, config.correction, lambda name: slots.setdefault(name, {}), None)

    def recalibrate() -> None:
        learner.adopt(own)
        learner.state_dict(settled=True)

    if config.training.compile:
        train()
    clock = clock_for(config, learner.device)
    step = _repeated(train, clock)
    evaluated, inputs = len(config.dataset.load().test_labels), min(_LOOKED_AT, len(learner.data))
    return Work(
        step=Span.of(step),
        test=Span.of([seconds / evaluated for seconds in _repeated(lambda: learner.measure(own), clock)]),
        recalibration=Span.of([seconds / inputs for seconds in _repeated(recalibrate, clock)]),
        memory_bytes=largest_size(),
        gpu_bytes=largest_gpu_size(),
        seconds=round(time.perf_counter() - began, 1),
    )


def _repeated(part: Callable[[], object], clock: Callable[[], float]) -> list[float]:
    """Return what a part took each time, until it has been done for long enough; but for the first, if it can be."""
    found: list[float] = []
    while sum(found) < ENOUGH_S:
        began = clock()
        part()
        found.append(clock() - began)
    return without_the_first(found)


def without_the_first(found: list[float]) -> list[float]:
    """Return what was measured when all was warm, where it was measured twice."""
    return found[1:] or found


def clock_for(config: Config, device: torch.device) -> Callable[[], float]:
    """Return what tells the time that counts, in seconds; see the module."""
    if device.type == "cuda":
        return _after_the_gpu
    return time.process_time if config.training.threads == 1 else time.perf_counter


def _after_the_gpu() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def shortened(job: Job, *words: str) -> dict[str, str]:
    """Return a cell's run-config with more overrides."""
    return {**job.run_config, "overrides": f"{job.run_config['overrides']} {shlex.join(words)}"}
