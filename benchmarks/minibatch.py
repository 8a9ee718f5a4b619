"""What one minibatch costs a peer, beside the bare forward, backward and step of the same network.

All are measured side by side in one process with one thread: every repetition runs each of them a few times, in turn,
so that a busy machine slows all alike. CPU time is told, the median over the repetitions, and as a multiple of the bare
minibatch. ``first`` counts on, as in a run, so that the order of a new epoch is drawn when its turn comes.

    python benchmarks/minibatch.py --optimizer adam
"""

import statistics
import time
from collections.abc import Callable
from enum import StrEnum
from itertools import count
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn.functional import cross_entropy

from dimat_flwr.data.digits import Digits
from dimat_flwr.data.partitions.iid import Iid
from dimat_flwr.learning import Optimizer, PeerData, gradient, restore_optimizer, save_optimizer, train_steps
from dimat_flwr.learning.optimizers.adam import Adam
from dimat_flwr.learning.optimizers.momentum import Momentum
from dimat_flwr.learning.optimizers.sgd import Sgd
from dimat_flwr.models import DigitsCNN


class Choice(StrEnum):
    """Optimizers of ours, and of torch for the bare step."""

    SGD = "sgd"
    MOMENTUM = "momentum"
    ADAM = "adam"


OURS: dict[Choice, Optimizer] = {Choice.SGD: Sgd(), Choice.MOMENTUM: Momentum(), Choice.ADAM: Adam()}


def bare_optimizer(choice: Choice, model: nn.Module) -> torch.optim.Optimizer:
    """Return torch's optimizer with the settings of ours."""
    if choice is Choice.ADAM:
        return torch.optim.Adam(model.parameters(), lr=1e-3)
    if choice is Choice.MOMENTUM:
        return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return torch.optim.SGD(model.parameters(), lr=0.1)


def contestants(choice: Choice, width: int, batch_size: int) -> dict[str, Callable[[], object]]:
    """Return what is measured, name -> one minibatch of it; the first is the bare one."""
    source, cpu = Digits(), torch.device("cpu")
    part = Iid().split(source.load().train_strata.numpy(), 5, 0)[0]
    data = PeerData.training(source, part, cpu)
    task, batch = source.task, data.batch(0, batch_size, 0)
    models = [DigitsCNN(width=width) for _ in range(5)]
    bare_step, optimizer = bare_optimizer(choice, models[0]), OURS[choice].build(models[1].parameters())
    numbers = [count() for _ in range(3)]
    rate = OURS[choice].lr
    kept: dict[str, torch.Tensor] = {}

    def bare() -> None:
        bare_step.zero_grad()
        cross_entropy(models[0](batch[0]), batch[1]).backward()
        bare_step.step()

    def steps(model: nn.Module, at_work: object, number: int) -> None:
        train_steps(
            model, data, at_work, task, first=number, steps=1, batch_size=batch_size, seed=0, precision="auto", lr=rate
        )

    def train() -> None:
        steps(models[1], optimizer, next(numbers[0]))

    def own_gradient() -> None:
        gradient(models[2], task, batch, seed=1)

    def others_gradient() -> None:
        gradient(models[3], task, batch, at=models[2].state_dict(), seed=1)

    def next_batch() -> None:
        data.batch(next(numbers[1]), batch_size, 1)

    def new_data() -> None:
        PeerData.training(source, part, cpu).batch(next(numbers[2]), batch_size, 1)

    def keep_and_train() -> None:
        nonlocal kept
        again = OURS[choice].build(models[4].parameters())
        restore_optimizer(again, models[4], kept)
        steps(models[4], again, 0)
        kept = save_optimizer(again, models[4])

    def keep() -> None:
        again = OURS[choice].build(models[4].parameters())
        restore_optimizer(again, models[4], kept)
        save_optimizer(again, models[4])

    return {
        "bare forward, backward, step": bare,
        "train_steps(steps=1)": train,
        "the same, optimizer rebuilt and kept": keep_and_train,
        "gradient(at=None)": own_gradient,
        "gradient(at=others' weights)": others_gradient,
        "next batch": next_batch,
        "new PeerData and its first batch": new_data,
        "optimizer: build, restore, save": keep,
    }


def main(
    optimizer: Annotated[Choice, typer.Option(help="Of the bare step and of ours.")] = Choice.ADAM,
    width: Annotated[int, typer.Option(help="Of digits_cnn.")] = 2,
    batch_size: Annotated[int, typer.Option(help="Samples in a minibatch.")] = 32,
    repetitions: Annotated[int, typer.Option(help="Each measures all in turn.")] = 100,
    calls: Annotated[int, typer.Option(help="Of each in one repetition.")] = 5,
) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    measured = contestants(optimizer, width, batch_size)
    for run in measured.values():
        for _ in range(10):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(repetitions):
        for name, run in measured.items():
            start = time.process_time()
            for _ in range(calls):
                run()
            seconds[name].append((time.process_time() - start) / calls)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    bare = next(iter(medians.values()))
    table = Table(
        title=f"digits_cnn, width {width}, batch {batch_size}, {optimizer}, one thread, torch {torch.__version__}"
    )
    for column in ("", "CPU ms", "x bare"):
        table.add_column(column, justify="left" if not column else "right")
    for name, median in medians.items():
        table.add_row(name, f"{1000 * median:.3f}", f"{median / bare:.2f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
