"""What an exchange costs a peer beyond its minibatch: processor time per peer and exchange, side by side in one run.

python benchmarks/exchange.py [--peers 5] [--rounds 80] [--algorithm weight_averaging] [--flwr]

Each peer of a ring reads two neighbours' models, mixes them, does one minibatch (training.local_steps=1) of digits with
batch size 32 and publishes. The bare figure is the same minibatch in a plain loop of torch's own: forward, backward,
optimizer step. It is measured once after every exchange, so that both see the same machine, and medians are compared.
The limit is 1.5 times the bare minibatch. With --flwr the same run goes through `flwr run` with two workers, where the
limit is 25 ms per peer and exchange; Flower hands messages to its workers every 100 ms, which is 20 ms of that. The
SuperLink of these runs has a home and ports of its own, and ends with them.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import torch
import typer
from flwr.app import RecordDict
from rich.console import Console
from rich.table import Table

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.config import build_network
from dimat_flwr.launch import launch
from dimat_flwr.local import LocalPost
from dimat_flwr.peer import caches, exchange, local_training, memory, messages
from dimat_flwr.relay import run_relay
from dimat_flwr.wire import names

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.e2e.federation import ROOT
from tests.e2e.processes import simulating_superlink

LIMIT, LIMIT_FLWR_MS = 1.5, 25
WARM_UP = 10  # rounds that are not counted
SETTINGS = "training.local_steps=1 training.pretrain_epochs=0 evaluate.every=1000000"
# What is timed on its own: the time of a part excludes that of the parts within it.
PARTS: dict[str, tuple[Any, str]] = {
    "minibatch": (local_training, "train_steps"),
    "open and check the payloads": (exchange, "_open"),
    "mix and adopt": (sys.modules["dimat_flwr.algorithms.merge_and_train"], "adopt_merged"),
    "fill the network": (caches.Shell, "fill"),
    "publish": (exchange, "_publish"),
    "read the state": (memory, "load_state"),
    "write the state": (memory, "save_state"),
    "read the instruction": (messages, "read_instruction"),
}


class Bare:
    """The run's network, batch size and kind of optimizer in a plain loop."""

    def __init__(self, run_config: dict[str, Any]) -> None:
        config = caches.configuration(run_config, {}, find_conf_dir())
        self.network = build_network(config.model).train()
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[config.choices["optimizer"]]
        self.optimizer = kind(self.network.parameters(), lr=config.optimizer.lr)
        data = config.dataset.load()
        self.inputs = config.dataset.prepare(data.train_inputs[: config.training.batch_size])
        self.labels = data.train_labels[: config.training.batch_size]

    def seconds(self) -> float:
        """Do one minibatch and return its processor time."""
        began = time.process_time()
        self.optimizer.zero_grad()
        torch.nn.functional.cross_entropy(self.network(self.inputs), self.labels).backward()
        self.optimizer.step()
        return time.process_time() - began


class Stopwatch:
    """Processor time by part of an exchange, without what the parts call among themselves."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}
        self._within: list[float] = [0.0]

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Add what happens meanwhile to a part."""
        began = time.process_time()
        self._within.append(0.0)
        try:
            yield
        finally:
            took = time.process_time() - began
            self.spent.setdefault(name, []).append(took - self._within.pop())
            self._within[-1] += took

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        def timed(*arguments: Any, **keywords: Any) -> Any:
            with self.timing(name):
                return function(*arguments, **keywords)

        return timed

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Time the ``PARTS`` for a while."""
        with ExitStack() as stack:
            for name, (owner, attribute) in PARTS.items():
                timed = self.around(name, getattr(owner, attribute))
                stack.enter_context(patch.object(owner, attribute, timed))
            yield


class TimedPost(LocalPost):
    """Measures each exchange at its peer, and a bare minibatch right after it."""

    def __init__(self, peers: int, run_config: dict[str, Any]) -> None:
        super().__init__(peers, run_config, find_conf_dir())
        self.bare, self.stopwatch = Bare(run_config), Stopwatch()
        self.exchanges: list[float] = []
        self.minibatches: list[float] = []

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        """See ``LocalPost``."""
        began = time.process_time()
        with self.stopwatch.timing("configuration, session, optimizer, report"):
            reply = super().answer(peer, kind, content)
        if kind == names.EXCHANGE_MESSAGE:
            self.exchanges.append(time.process_time() - began)
            self.minibatches.append(self.bare.seconds())
        return reply


def in_process(peers: int, rounds: int, algorithm: str, *, in_parts: bool) -> TimedPost:
    """Do a run and return what was measured."""
    with tempfile.TemporaryDirectory() as output:
        run_config = {"algorithm": algorithm, "rounds": rounds, "output-dir": output, "overrides": SETTINGS}
        post = TimedPost(peers, run_config)
        with post.stopwatch.watching() if in_parts else ExitStack():
            launch(run_config, find_conf_dir(), "benchmarks/exchange.py", lambda *run: run_relay(post, *run))
    return post


def through_flwr(environment: Mapping[str, str], peers: int, rounds: int, algorithm: str) -> float:
    """Return the seconds that a run of so many rounds takes from the relay's start, through ``flwr run``."""
    with tempfile.TemporaryDirectory() as output:
        settings = f"output-dir='{output}' rounds={rounds} algorithm='{algorithm}' overrides='{SETTINGS}'"
        federation = f"num-supernodes={peers} client-resources-num-cpus=1 init-args-num-cpus=2"
        command = ["flwr", "run", ".", "--stream", "--federation-config", federation, "-c", settings]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment)
        (folder,) = Path(output).iterdir()
        summary = json.loads((folder / "summary.json").read_text())
    if summary["status"] != "completed":
        raise typer.Exit(f"the run ended as {summary['status']}: {summary['reason']}")
    return float(summary["wall_seconds"])


def main(
    peers: int = 5,
    rounds: Annotated[int, typer.Option(min=WARM_UP + 10)] = 80,
    algorithm: str = "weight_averaging",
    flwr: Annotated[bool, typer.Option(help="Measure `flwr run` with two workers too.")] = False,
) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    console = Console()
    skip, end = WARM_UP * peers, -peers  # the last exchange of a peer saves and measures its model
    whole = in_process(peers, rounds, algorithm, in_parts=False)
    cost, bare = (1e3 * statistics.median(times[skip:end]) for times in (whole.exchanges, whole.minibatches))
    console.print(
        f"{algorithm}, {peers} peers on a ring: {cost:.2f} ms of processor time per peer and exchange, bare minibatch "
        f"{bare:.2f} ms: [bold]{cost / bare:.2f} x[/] (limit {LIMIT} x)"
    )
    parts = in_process(peers, rounds, algorithm, in_parts=True).stopwatch.spent
    table = Table("part of an exchange", "ms", "share of the bare minibatch", title="where it goes (timed apart)")
    for name, times in sorted(parts.items(), key=lambda item: -statistics.median(item[1])):
        calls = len(times) / (peers * (rounds + 1))
        spent = 1e3 * statistics.median(times) * max(1, round(calls))
        table.add_row(name, f"{spent:.2f}", f"{100 * spent / bare:.0f} %")
    console.print(table)
    if flwr:
        few, many = 10, 10 + 2 * rounds
        with tempfile.TemporaryDirectory() as home, simulating_superlink(Path(home)) as environment:
            first, second = (through_flwr(environment, peers, count, algorithm) for count in (few, many))
        each = 1e3 * (second - first) / (peers * (many - few))
        console.print(
            f"through flwr run, 2 workers: [bold]{each:.1f} ms[/] per peer and exchange (limit {LIMIT_FLWR_MS})"
        )


if __name__ == "__main__":
    typer.run(main)
