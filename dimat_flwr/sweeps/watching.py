"""What an algorithm's exchanges cost on this machine; in a process of the crew.

A cell is run that hardly trains and hardly evaluates, and ended when its exchanges have been seen often enough. How
time is taken, ``measuring`` says.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from flwr.app import RecordDict

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.config import load_config
from dimat_flwr.events import Evaluation, Training
from dimat_flwr.launch import launch, plan_of
from dimat_flwr.learning import resolve_device
from dimat_flwr.local import LocalPost
from dimat_flwr.relay import run_relay
from dimat_flwr.relay.envelope import read_outbox
from dimat_flwr.sweeps.cell_work import forget_size, largest_gpu_size, largest_size
from dimat_flwr.sweeps.job import Exchanges, Job, Span
from dimat_flwr.sweeps.measuring import ENOUGH_S, clock_for, shortened, without_the_first
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction, read_instruction
from dimat_flwr.wire.report import Report, read_report

_HARDLY = 2  # samples in a minibatch, and test samples; BatchNorm needs 2


class _Enough(Exception):  # noqa: N818 - no error: what was to be seen was seen
    """Exchanges have been seen often enough."""


@dataclass
class _Round:
    """One peer's messages of one round."""

    seconds: float = 0.0
    mixed: int = 0
    gradients: int = 0
    evaluations: int = 0


@dataclass
class _Seen:
    rounds: list[_Round] = field(default_factory=list)
    at: dict[int, _Round] = field(default_factory=dict)
    payload: int = 0
    error: str = ""


class _Watched(LocalPost):
    """A post that takes the time of every answer, and ends the run when whole rounds with merges took long enough."""

    def __init__(self, job: Job, run_config: dict[str, str], clock: Callable[[], float], *, merges: bool) -> None:
        super().__init__(job.peers, run_config, find_conf_dir())
        self.seen, self._clock, self._merges = _Seen(), clock, merges

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        """Let a peer answer; see ``LocalPost``."""
        began, wall = self._clock(), time.perf_counter()
        reply = super().answer(peer, kind, content)
        took, wall = self._clock() - began, time.perf_counter() - wall
        if kind == names.EXCHANGE_MESSAGE:
            report = read_report(reply.config_records.get(names.REPORT))
            if report.error:
                self.seen.error = report.error
                raise _Enough
            instruction = read_instruction(content.config_records[names.INSTRUCTION])
            coming = instruction.next
            if coming is not None:
                sizes = [one.size for one in read_outbox(reply, tuple(coming.readers), coming.round).values()]
                self.seen.payload = max([self.seen.payload, *sizes])
            if instruction.round > 0:
                self._look(instruction, report, took, wall)
        return reply

    def _look(self, instruction: Instruction, report: Report, took: float, wall: float) -> None:
        seen, coming = self.seen, instruction.next
        passed = seen.at.setdefault(instruction.peer, _Round())
        trained = [event for event in report.events if isinstance(event, Training)]
        # Training tells its time by the wall's clock; of the processor's it has had the same share of the message.
        passed.seconds += took * max(0.0, 1 - sum(event.seconds for event in trained) / wall)
        passed.gradients += sum(event.steps for event in trained)
        passed.evaluations += sum(isinstance(event, Evaluation) for event in report.events)
        passed.mixed += 1 + len(instruction.row.sources) if instruction.row.sources else 0
        if coming is not None and coming.round == instruction.round:
            return
        seen.rounds.append(seen.at.pop(instruction.peer))
        if not self._merges or sum(one.seconds for one in seen.rounds if one.mixed) >= ENOUGH_S:
            raise _Enough


def exchanges(job: Job) -> Exchanges:
    """Return what an algorithm's exchanges cost: of rounds with one small minibatch and next to no test samples.

    Raises:
        RuntimeError: a peer failed.
        Exception: what ends a run before it.
    """
    began = time.perf_counter()
    cut = [
        "training.pretrain_epochs=0", "training.local_steps=1", f"training.batch_size={_HARDLY}",
        "training.compile=false", "evaluate.every=1", f"dataset.test_samples={_HARDLY}", "evaluate.save_models=false",
        "batchnorm.policy=keep", "batchnorm.frozen=false",  # in which a mixture costs the same
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as output:
        run_config = {**shortened(job, *cut), "output-dir": output}
        config = load_config(run_config, {}, find_conf_dir())
        plan = plan_of(config, job.peers, config.rounds)
        clock = clock_for(config, resolve_device(config.training.device))
        forget_size()
        post = _Watched(
            job, run_config, clock, merges=any(plan[number].mixing.edge_count for number in range(len(plan)))
        )
        with suppress(_Enough):
            launch(run_config, find_conf_dir(), job.command, lambda *run: run_relay(post, *run))
    seen = post.seen
    if seen.error:
        raise RuntimeError(f"the round that was to be measured failed:\n{seen.error}")
    mixed = [one.seconds / one.mixed for one in seen.rounds if one.mixed]
    return Exchanges(
        mix=Span.of(without_the_first(mixed) or [0.0]),
        gradients=max((one.gradients for one in seen.rounds), default=0),
        evaluations=max((one.evaluations for one in seen.rounds), default=0),
        payload=seen.payload,
        memory_bytes=largest_size(),
        gpu_bytes=largest_gpu_size(),
        seconds=round(time.perf_counter() - began, 1),
    )
