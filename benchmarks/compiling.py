"""Whether `training.compile` pays on this processor: images per second with and without it, and what it costs first.

    python benchmarks/compiling.py [--width 1 --width 8] [--batch-size 100] [--images 10000]

A ResNet-20 is trained by a peer's own code, with one thread, on CIFAR-10 (in $DIMAT_DATA or ~/data). The first two
minibatches are told apart: in the first one the network is compiled. Then minibatches are timed until they have taken
20 seconds, at least two, and the fastest one counts. Each case has a process of its own, and none finds what another
has compiled. The last column says after how many epochs of so many images compiling has paid.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.config import load_config
from dimat_flwr.peer.learner import Learner
from dimat_flwr.peer.state import PeerState

ENOUGH_S = 20.0


def one_case(width: int, batch_size: int, compiled: bool) -> tuple[float, float]:
    """Return the seconds of the first two minibatches, and of the fastest one after them."""
    torch.set_num_threads(1)
    words = [
        "dataset=cifar10", "dataset.test_samples=100", "model=resnet20", f"model.width={width}",
        f"training.batch_size={batch_size}", "training.local_steps=1", f"training.compile={str(compiled).lower()}",
    ]  # fmt: skip
    run_config = {"data-dir": os.environ.get("DIMAT_DATA", "~/data"), "overrides": " ".join(words)}
    config = load_config(run_config, {}, find_conf_dir())
    learner = Learner(config, PeerState(), peer=0, peers=5, round=1, rounds=1, simulation=True)

    def seconds() -> float:
        began = time.perf_counter()
        learner.train()
        return time.perf_counter() - began

    first = seconds() + seconds()
    found: list[float] = []
    while sum(found) < ENOUGH_S or len(found) < 2:
        found.append(seconds())
    return first, min(found)


def main(
    width: Annotated[list[int] | None, typer.Option(help="May be given several times.")] = None,
    batch_size: int = 100,
    images: Annotated[int, typer.Option(help="Of an epoch, for the last column.")] = 10_000,
    single: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure and print."""
    widths = width or [1, 8]
    if single:
        print(json.dumps(one_case(widths[0], batch_size, single == "yes")))
        return
    table = Table("width", "compiled", "images/s", "first two minibatches", "epochs until it pays")
    for each in widths:
        found = {}
        for compiled in ("no", "yes"):
            command = [sys.executable, __file__, "--single", compiled, "--width", str(each)]
            command += ["--batch-size", str(batch_size)]
            with tempfile.TemporaryDirectory() as cache:
                environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache}
                answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
            first, step = found[compiled] = json.loads(answer.splitlines()[-1])
            pays = ""
            if compiled == "yes":
                saved = (found["no"][1] - step) / batch_size * images
                pays = f"{(first - found['no'][0]) / saved:.1f}" if saved > 0 else "never"
            table.add_row(str(each), compiled, f"{batch_size / step:.1f}", f"{first:.1f} s", pays)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
