"""What an exchange costs a peer beyond its minibatch: processor time per peer and exchange, side by side in one run.

python benchmarks/exchange.py [--peers 5] [--rounds 60] [--algorithm weight_averaging]

Each peer of a ring reads two neighbours' models, mixes them, does one minibatch (training.local_steps=1) of digits with
batch size 32 and publishes. The bare figure is the same minibatch in a plain loop: forward, backward, optimizer step.
The limit is 1.5 times that. Rounds of the two are measured in turn, and medians are compared: the machine may be noisy.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from flwr.app import RecordDict

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.launch import launch
from dimat_flwr.learning import PeerData
from dimat_flwr.local import LocalPost
from dimat_flwr.peer import caches, handle
from dimat_flwr.peer import handle as handle_message
from dimat_flwr.relay import run_relay
from dimat_flwr.wire import names

LIMIT = 1.5
WARM_UP = 10  # rounds that are not counted
PARTS: dict[str, list[tuple[Any, str]]] = {}


class Bare:
    """The same network, data, batch size and optimizer in a plain loop."""

    def __init__(self, run_config: dict[str, Any]) -> None:
        self.config = caches.configuration(run_config, {}, find_conf_dir())
        self.network = self.config.build_network().train()
        self.optimizer = self.config.optimizer.build(self.network.parameters())
        parts = caches.partition_indices(self.config.dataset, self.config.partition, 5, 0)
        self.data = PeerData.training(self.config.dataset, parts[0], torch.device("cpu"))
        self.batch = self.data.batch(0, self.config.training.batch_size, 0)

    def step(self) -> float:
        """Do one minibatch and return its processor time in seconds."""
        began = time.process_time()
        inputs, labels = self.batch
        self.optimizer.zero_grad()
        torch.nn.functional.cross_entropy(self.network(inputs), labels).backward()
        self.optimizer.step()
        return time.process_time() - began


class TimedPost(LocalPost):
    """Measures each message's processor time at its peer, and a bare minibatch beside it."""

    def __init__(self, peers: int, run_config: dict[str, Any], bare: Bare) -> None:
        super().__init__(peers, run_config, find_conf_dir())
        self.bare, self.exchanges, self.minibatches = bare, [], []

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        """See ``LocalPost``."""
        began = time.process_time()
        reply = super().answer(peer, kind, content)
        if kind == names.EXCHANGE_MESSAGE:
            self.exchanges.append(time.process_time() - began)
            self.minibatches.append(self.bare.step())
        return reply


class Stopwatch:
    """Adds up the processor time spent in some functions, without what they call among themselves."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._inner: list[float] = []

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        def timed(*arguments: Any, **keywords: Any) -> Any:
            began = time.process_time()
            self._inner.append(0.0)
            try:
                return function(*arguments, **keywords)
            finally:
                took = time.process_time() - began
                self.spent[name] = self.spent.get(name, 0.0) + took - self._inner.pop()
                if self._inner:
                    self._inner[-1] += took

        return timed

    @contextmanager
    def watching(self, watched: dict[str, tuple[Any, str]]) -> Iterator[None]:
        """Time attributes of modules and classes for a while."""
        patches = [
            patch.object(owner, attribute, self.around(name, getattr(owner, attribute)))
            for name, (owner, attribute) in watched.items()
        ]
        for one in patches:
            one.start()
        try:
            yield
        finally:
            for one in patches:
                one.stop()


WATCHED: dict[str, tuple[Any, str]] = {
    "read the instruction": (handle_message.__globals__["read_instruction"].__module__ and handle, "x"),
}


def measure(peers: int, rounds: int, algorithm: str, watch: bool) -> tuple[TimedPost, dict[str, float]]:
    """Do a run and return what was measured."""
    with tempfile.TemporaryDirectory() as output:
        run_config = {
            "algorithm": algorithm,
            "rounds": rounds,
            "output-dir": output,
            "overrides": "training.local_steps=1 training.pretrain_epochs=0 evaluate.every=1000000",
        }
        post = TimedPost(peers, run_config, Bare(run_config))
        stopwatch = Stopwatch()
        with stopwatch.watching(WATCHED if watch else {}):
            launch(run_config, find_conf_dir(), "benchmarks/exchange.py", lambda *run: run_relay(post, *run))
    return post, stopwatch.spent
