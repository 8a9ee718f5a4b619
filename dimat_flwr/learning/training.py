"""Local training: whole epochs, or a number of minibatches that can be continued later."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, nn

from dimat_flwr.data import Task
from dimat_flwr.learning.batches import Batch, PeerData
from dimat_flwr.learning.device import Precision, autocast
from dimat_flwr.learning.errors import TrainingError
from dimat_flwr.learning.mode import in_mode
from dimat_flwr.learning.optimizers.base import RunningOptimizer
from dimat_flwr.learning.randomness import reseed, seeded
from dimat_flwr.seeding import derive_seed

Correction = Callable[[Mapping[str, Tensor], dict[str, Tensor]], Mapping[str, Tensor]]
"""Makes of the parameters x and the gradients g, both by name, the gradients to step along; x must stay as it is."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training did.

    Attributes:
        loss: mean of the minibatches' losses, weighted by their samples, each measured when it was trained on; None if
            there were none, or if it is withheld because it tells of private samples.
        samples: samples trained on, counted as often as they were used; in private training the number expected.
        steps: minibatches.
        seconds: wall-clock time.
    """

    loss: float | None
    samples: int
    steps: int
    seconds: float


def train_epochs(
    model: nn.Module,
    data: PeerData,
    optimizer: RunningOptimizer,
    task: Task,
    *,
    epochs: int,
    batch_size: int,
    generator: torch.Generator,
    precision: Precision = "auto",
    lr: float | None = None,
    correct: Correction | None = None,
    forward: Callable[[Tensor], Tensor] | None = None,
    frozen_batchnorm: bool = False,
) -> TrainingResult:
    """Train a model in place, in training mode, for whole epochs of shuffled and augmented minibatches.

    Args:
        model: on the device of ``data``.
        data: what to train on.
        optimizer: of the model's parameters; it is the caller's and keeps its state.
        task: makes the loss of the model's scores.
        epochs: >= 0.
        batch_size: see ``PeerData.epoch``.
        generator: a CPU generator for order, augmentation and dropout.
        precision: see ``autocast``.
        lr: learning rate of all parameters; None: as the optimizer was built.
        correct: changes the gradients before each step.
        forward: computes the model's scores from its own tensors, such as ``torch.compile`` of it; None: the model.
        frozen_batchnorm: see ``in_mode``.

    Raises:
        TrainingError: a loss that is not finite; found at the end of its epoch.
    """
    trace = _Trace()
    update = _Update(model, optimizer, task, precision, data.device, lr, correct, forward or model)
    seed = int(torch.randint(2**62, (), generator=generator))
    with in_mode(model, training=True, frozen_batchnorm=frozen_batchnorm), seeded(seed, data.device):
        for epoch in range(1, epochs + 1):
            first = trace.steps
            losses = [
                update(number, batch) for number, batch in enumerate(data.epoch(batch_size, generator), start=first)
            ]
            trace.add(losses, f"epoch {epoch} of {epochs}")
    return trace.result()


def train_steps(
    model: nn.Module,
    data: PeerData,
    optimizer: RunningOptimizer,
    task: Task,
    *,
    first: int,
    steps: int,
    batch_size: int,
    seed: int,
    precision: Precision = "auto",
    lr: float | None = None,
    correct: Correction | None = None,
    forward: Callable[[Tensor], Tensor] | None = None,
    frozen_batchnorm: bool = False,
) -> TrainingResult:
    """Train a model in place on minibatches ``first`` to ``first + steps - 1`` of the sequence that a seed defines.

    Calls that follow each other equal one long call: the sequence runs on through the epochs, see ``PeerData.batch``.

    Args:
        model: see ``train_epochs``.
        data: see ``train_epochs``.
        optimizer: see ``train_epochs``.
        task: see ``train_epochs``.
        first: minibatches done before, since the beginning of the sequence.
        steps: >= 0.
        batch_size: see ``PeerData.epoch``.
        seed: of the sequence.
        precision: see ``autocast``.
        lr: see ``train_epochs``.
        correct: see ``train_epochs``.
        forward: see ``train_epochs``.
        frozen_batchnorm: see ``in_mode``.

    Raises:
        TrainingError: a loss that is not finite; found at the end.
    """
    trace = _Trace()
    update = _Update(model, optimizer, task, precision, data.device, lr, correct, forward or model)
    losses = []
    with in_mode(model, training=True, frozen_batchnorm=frozen_batchnorm), seeded(seed, data.device):
        for number in range(first, first + steps):
            batch = data.batch(number, batch_size, seed)
            reseed(derive_seed(seed, round_number=number, purpose="dropout"), data.device)
            losses.append(update(number, batch))
    trace.add(losses, f"minibatches {first} to {first + steps - 1}")
    return trace.result()


@dataclass(frozen=True, eq=False)
class _Update:
    """One optimizer step on one minibatch."""

    model: nn.Module
    optimizer: RunningOptimizer
    task: Task
    precision: Precision
    device: torch.device
    lr: float | None
    correct: Correction | None
    forward: Callable[[Tensor], Tensor]

    def __call__(self, number: int, batch: Batch) -> tuple[Tensor, int]:
        """Return the mean loss, still on the device, and the number of samples."""
        inputs, labels = batch
        if self.lr is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr
        self.optimizer.zero_grad()
        with autocast(self.device, self.precision):
            scores = self.forward(inputs)
        loss = self.task.loss(scores, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.correct is not None:
            correct_gradients(self.model, self.correct)
        self.optimizer.step()
        return loss.detach(), len(labels)


def correct_gradients(model: nn.Module, correct: Correction) -> None:
    """Replace the gradients of a model's parameters by what a correction makes of them.

    Raises:
        TrainingError: it leaves one out, or gives one of another shape.
    """
    parameters = {name: own for name, own in model.named_parameters() if own.requires_grad}
    gradients = {name: torch.zeros_like(own) if own.grad is None else own.grad for name, own in parameters.items()}
    corrected = correct({name: own.detach() for name, own in parameters.items()}, gradients)
    for name, own in parameters.items():
        given = corrected.get(name)
        if given is None or given.shape != own.shape:
            found = "none" if given is None else f"one of shape {tuple(given.shape)}"
            raise TrainingError(
                f"the gradient correction gave {found} for parameter '{name}' {tuple(own.shape)}; it must return "
                "a gradient of the same shape for every one it is given"
            )
        own.grad = given.detach()


class _Trace:
    """Sums losses up, asking the device for them only once per epoch: every question makes it wait."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._total, self._samples, self.steps = 0.0, 0, 0

    def add(self, losses: list[tuple[Tensor, int]], where: str) -> None:
        if not losses:
            return
        values = torch.stack([loss for loss, _ in losses]).tolist()
        for step, (value, (_, samples)) in enumerate(zip(values, losses, strict=True), start=1):
            if not isfinite(value):
                raise TrainingError(
                    f"the training loss became {value} in {where}, at its minibatch {step} of {len(losses)}; try a "
                    "lower optimizer.lr, training.precision=float32, or look for NaN in the weights"
                )
            self._total += value * samples
            self._samples += samples
        self.steps += len(losses)

    def result(self) -> TrainingResult:
        loss = self._total / self._samples if self._samples else None
        return TrainingResult(loss, self._samples, self.steps, time.perf_counter() - self._start)
