"""Images per second of peers that train, as a share of the same network in a bare training loop on the same machine.

python benchmarks/throughput.py [--workers 2] [--model resnet20] [--flwr] [--gpus 0.2] [SETTING ...]

Each worker is a process with one thread: it does a run of two peers on CIFAR-10 (in $DIMAT_DATA or ~/data) and, after
every message of theirs, as many images in a plain loop of torch's own: forward, backward and step on batches that have
been made before. So both see the same machine and the same neighbours. A message's time is all of it: reading the state
and the neighbour's model, merging, augmenting, training, keeping the state and publishing. With --flwr a run of --peers
peers goes through `flwr run` with as many workers, on one GPU where --gpus says which share of it each takes; Flower's
own work is in that figure, too. Settings such as training.precision=bfloat16, training.compile=true or optimizer=sgd
are for both sides. The first message and the first loop are told apart: torch warms up in them, and compiles.
"""

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from flwr.app import RecordDict
from rich.console import Console
from rich.table import Table

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.config import build_network
from dimat_flwr.launch import launch
from dimat_flwr.learning import PeerData, autocast, resolve_device
from dimat_flwr.local import LocalPost
from dimat_flwr.peer import caches
from dimat_flwr.relay import run_relay
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import read_instruction

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the SuperLink is the tests'

from tests.e2e.processes import simulating_superlink

BATCH, EPOCHS = 100, 2
LIMIT = 0.85


def run_config(output: str, model: str, images: int, peers: int, rounds: int, settings: list[str]) -> dict[str, Any]:
    """Return a run in which every peer trains on so many images, in two epochs of half as many, in each round."""
    data = os.environ.get("DIMAT_DATA", "~/data")
    words = [
        "dataset=cifar10", f"model={model}", f"dataset.train_samples={images // EPOCHS * peers}",
        "dataset.test_samples=100", f"training.batch_size={BATCH}", f"training.local_epochs={EPOCHS}",
        "training.pretrain_epochs=0", "evaluate.every=1000000", "evaluate.save_models=false", *settings,
    ]  # fmt: skip
    return {
        "algorithm": "weight_averaging", "rounds": rounds, "output-dir": output, "data-dir": data,
        "overrides": " ".join(words),
    }  # fmt: skip


# What torch has in the place of an optimizer of conf/optimizer.
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "amsgrad": partial(torch.optim.Adam, amsgrad=True),
    "momentum": torch.optim.SGD,
    "sgd": torch.optim.SGD,
}


class Bare:
    """The run's network, batch size, precision and optimizer in a plain loop over batches made before."""

    def __init__(self, config: Any, images: int) -> None:
        self.device = resolve_device(config.training.device)
        self.precision = config.training.precision
        self.network = build_network(config.model).to(self.device).train()
        last = self.device.type == "cuda" or config.training.channels_last == "always"
        layout = torch.channels_last if last else torch.contiguous_format
        self.network = self.network.to(memory_format=layout)
        self.forward = torch.compile(self.network) if config.training.compile else self.network
        build = OPTIMIZERS[config.choices["optimizer"]]
        self.optimizer = build(self.network.parameters(), **vars(config.optimizer))
        data = PeerData.training(config.dataset, None, self.device)
        batches = data.epoch(BATCH, torch.Generator().manual_seed(0))
        self.batches = [(images.contiguous(memory_format=layout), labels) for images, labels in batches]
        self.count = images // BATCH

    def epoch(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield as many batches as a message trains on."""
        for number in range(self.count):
            yield self.batches[number % len(self.batches)]

    def seconds(self) -> float:
        """Train on so many images and return how long it took."""
        began = time.perf_counter()
        for inputs, labels in self.epoch():
            self.optimizer.zero_grad()
            with autocast(self.device, self.precision):
                scores = self.forward(inputs)
            loss = torch.nn.functional.cross_entropy(scores, labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        loss.item()  # waits for the device
        return time.perf_counter() - began


class TimedPost(LocalPost):
    """Times the messages in which a peer merges and trains, and the bare loop after each of them."""

    def __init__(self, config: dict[str, Any], images: int) -> None:
        super().__init__(2, config, find_conf_dir())
        self.bare = Bare(caches.configuration(config, {}, find_conf_dir()), images)
        self.messages: list[float] = []
        self.loops: list[float] = []

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        """See ``LocalPost``."""
        began = time.perf_counter()
        reply = super().answer(peer, kind, content)
        took = time.perf_counter() - began
        if kind == names.EXCHANGE_MESSAGE:
            instruction = read_instruction(content[names.INSTRUCTION])
            if instruction.round and not instruction.is_last:
                self.messages.append(took)
                self.loops.append(self.bare.seconds())
        return reply


def one_worker(model: str, images: int, rounds: int, settings: list[str]) -> dict[str, list[float]]:
    """Do a run in this process and return the seconds of messages and loops."""
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as output:
        config = run_config(output, model, images, 2, rounds, settings)
        require_so_many(config, images)
        post = TimedPost(config, images)
        launch(config, find_conf_dir(), "benchmarks/throughput.py", lambda *run: run_relay(post, *run))
    return {"messages": post.messages, "loops": post.loops}


def require_so_many(config: dict[str, Any], images: int) -> None:
    """End with an error where settings change how many images a message trains on, which is what is divided by."""
    found = caches.configuration(config, {}, find_conf_dir())
    training = found.training
    wanted = (BATCH, EPOCHS, None, images // EPOCHS * 2)
    if (training.batch_size, training.local_epochs, training.local_steps, found.dataset.train_samples) != wanted:
        raise SystemExit(
            "training.batch_size, training.local_epochs, training.local_steps and dataset.train_samples are this "
            "benchmark's own; say --images"
        )


def through_flwr(environment: dict[str, str], config: dict[str, Any], peers: int, workers: int, gpus: float) -> float:
    """Return the seconds that a run takes from the relay's start, through ``flwr run``."""
    federation = f"num-supernodes={peers} client-resources-num-cpus=1 init-args-num-cpus={workers}"
    federation += f" client-resources-num-gpus={gpus}" if gpus else ""
    settings = " ".join(f"{key}={value!r}" for key, value in config.items())
    command = ["flwr", "run", ".", "--stream", "--federation-config", federation, "-c", settings]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    (folder,) = Path(config["output-dir"]).iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    if summary["status"] != "completed":
        raise SystemExit(f"the run ended as {summary['status']}: {summary['reason']}")
    return float(summary["wall_seconds"])


def main(
    settings: Annotated[
        list[str] | None, typer.Argument(help="For both sides, as training.precision=bfloat16.")
    ] = None,
    workers: int = 2,
    model: str = "resnet20",
    images: Annotated[int, typer.Option(help="Trained on in each message; a multiple of 200.")] = 1000,
    rounds: Annotated[int, typer.Option(min=3)] = 5,
    flwr: Annotated[bool, typer.Option(help="Through `flwr run` too.")] = False,
    peers: Annotated[int, typer.Option(help="With --flwr.")] = 4,
    gpus: Annotated[float, typer.Option(help="With --flwr: share of a GPU for each worker.")] = 0.0,
    single: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Measure and print."""
    words = settings or []
    if images < BATCH * EPOCHS or images % (BATCH * EPOCHS):
        raise typer.BadParameter(f"--images {images} is no multiple of {BATCH * EPOCHS}")
    if single:
        print(json.dumps(one_worker(model, images, rounds, words)))
        return
    command = [sys.executable, __file__, "--single", "--model", model, "--images", str(images)]
    command += ["--rounds", str(rounds), *words]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(workers)]
    answers = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise typer.Exit(1)
    found = [json.loads(answer.splitlines()[-1]) for answer in answers]
    kinds = ("messages", "loops")
    ours, bare = (sum(images / statistics.median(worker[kind][1:]) for worker in found) for kind in kinds)
    first, first_bare = (f"{max(worker[kind][0] for worker in found):.0f} s" for kind in kinds)
    table = Table(
        "images/s",
        "of all workers",
        "share of the bare loop",
        "the first took",
        title=f"{model}, {workers} workers, {words}",
    )
    share = f"{100 * ours / bare:.0f} % (at least {100 * LIMIT:.0f})"
    table.add_row("bare loop", f"{bare:.0f}", "", first_bare)
    table.add_row("peers, whole messages", f"{ours:.0f}", share, first)
    if flwr:
        seconds = []
        with tempfile.TemporaryDirectory() as home, simulating_superlink(Path(home)) as environment:
            for count in (2, 2 + rounds):
                with tempfile.TemporaryDirectory() as output:
                    config = run_config(output, model, images, peers, count, words)
                    seconds.append(through_flwr(environment, config, peers, workers, gpus))
        rate = images * peers * rounds / (seconds[1] - seconds[0])
        table.add_row(f"flwr run, {peers} peers", f"{rate:.0f}", f"{100 * rate / bare:.0f} %", "")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
