"""What one round of a cell costs on this machine, and how much there is to do in a whole one; in a process of the crew.

The cell is begun as it is, with all its peers, its network and its data, but without training before the first
exchange, with few minibatches in a round and few test samples; it is ended when its first peer has done round 1.
"""

import shlex
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass

import torch
from flwr.app import RecordDict

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.config import Config, load_config
from dimat_flwr.events import Training
from dimat_flwr.launch import launch, plan_of
from dimat_flwr.local import LocalPost
from dimat_flwr.peer.caches import own_data
from dimat_flwr.relay import run_relay
from dimat_flwr.relay.envelope import read_outbox
from dimat_flwr.sweeps.cell_work import largest_size
from dimat_flwr.sweeps.job import Job, Rates, Size
from dimat_flwr.topology.exchange import is_observation
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction, read_instruction
from dimat_flwr.wire.report import read_report

_STEPS, _TEST_SAMPLES = 3, 100


class _Enough(Exception):  # noqa: N818 - no error: what was to be seen was seen
    """The first peer has done round 1."""


@dataclass
class _Seen:
    """Seconds of what was answered: of the latest start, and of the first peer's round 1."""

    start: float = 0.0
    round: float = 0.0
    training: float = 0.0
    steps: int = 0
    mixed: int = 0
    payload: int = 0
    error: str = ""


class _Watched(LocalPost):
    """A post that takes the time of every answer, and ends the run when the first peer has done round 1."""

    def __init__(self, job: Job, run_config: dict[str, str]) -> None:
        super().__init__(job.peers, run_config, find_conf_dir())
        self.seen = _Seen()

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        """Let a peer answer; see ``LocalPost``."""
        began = time.perf_counter()
        reply = super().answer(peer, kind, content)
        if kind == names.EXCHANGE_MESSAGE:
            instruction = read_instruction(content.config_records[names.INSTRUCTION])
            self._look(instruction, reply, time.perf_counter() - began)
        return reply

    def _look(self, instruction: Instruction, reply: RecordDict, took: float) -> None:
        report = read_report(reply.config_records.get(names.REPORT))
        if report.error:
            self.seen.error = report.error
            raise _Enough
        coming = instruction.next
        if coming is not None:
            sizes = [envelope.size for envelope in read_outbox(reply, tuple(coming.readers), coming.round).values()]
            self.seen.payload = max([self.seen.payload, *sizes])
        if instruction.round == 0:
            self.seen.start = took  # the last one counts: the first also loads what all need
        elif instruction.peer == 0:
            self.seen.round += took
            self.seen.mixed += 1 + len(instruction.row.sources) if instruction.row.sources else 0
            for event in report.events:
                if isinstance(event, Training):
                    self.seen.training += event.seconds
                    self.seen.steps += event.steps
            if coming is None or coming.round > 1:
                raise _Enough


def measure(job: Job) -> Rates:
    """Return what the parts of a cell cost.

    Raises:
        RuntimeError: the round failed.
        Exception: what ends a run before it.
    """
    began = time.perf_counter()
    config = load_config(job.run_config, {}, find_conf_dir())
    cut = ["training.pretrain_epochs=0", f"dataset.test_samples={_TEST_SAMPLES}", "evaluate.every=1"]
    if config.training.local_steps is None or config.training.local_steps > _STEPS:
        cut.append(f"training.local_steps={_STEPS}")
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as output:
        overrides = f"{job.run_config['overrides']} {shlex.join(cut)}"
        run_config = {**job.run_config, "overrides": overrides, "output-dir": output}
        post = _Watched(job, run_config)
        with suppress(_Enough):
            launch(run_config, find_conf_dir(), job.command, lambda *run: run_relay(post, *run))
    seen = post.seen
    if seen.error:
        raise RuntimeError(f"the round that was to be measured failed:\n{seen.error}")
    test = seen.start / _TEST_SAMPLES
    # Before training and after it; what is left is the merge, with the statistics that are measured anew.
    rest = max(0.0, seen.round - seen.training - 2 * _TEST_SAMPLES * test)
    return Rates(
        step=seen.training / max(1, seen.steps),
        test=test,
        mix=rest / max(1, seen.mixed),
        payload=seen.payload,
        memory_bytes=largest_size(),
        gpu_bytes=torch.cuda.max_memory_reserved() if cuda else None,
        seconds=round(time.perf_counter() - began, 1),
    )


def size(job: Job) -> Size:
    """Return how much there is to do in a cell.

    Raises:
        ConfigError: the configuration has faults.
        DataError: the data are missing.
    """
    config = load_config(job.run_config, {}, find_conf_dir())
    training, plan = config.training, plan_of(config, job.peers, config.rounds)
    epochs = _minibatches(config, job.peers)
    steps = job.peers * training.local_steps if training.local_steps is not None else training.local_epochs * epochs
    acts = [plan[number] for number in range(len(plan)) if not is_observation(plan.name_of(number))]
    edges = [planned.mixing.edge_count for planned in acts]
    evaluated = 2 + 2 * (config.rounds // config.evaluate.every)  # at the start, at the end, and around each training
    tests = len(config.dataset.load().test_labels)
    return Size(
        alone=training.pretrain_epochs * epochs,
        steps=max(0, config.rounds - 1) * steps,  # the last round ends with its merge
        tested=job.peers * evaluated * tests,
        mixed=sum(count + job.peers for count in edges if count),
        sent=sum(edges),
        rounds=config.rounds,
        peers=job.peers,
        messages=len(acts) * job.peers,
    )


def _minibatches(config: Config, peers: int) -> int:
    """Return the minibatches of an epoch of all peers."""
    what = (config.dataset, config.partition, peers, config.seeds.data)
    own = (own_data(*what, peer, torch.device("cpu")) for peer in range(peers))
    return sum(data.batches_per_epoch(config.training.batch_size) for data in own)
