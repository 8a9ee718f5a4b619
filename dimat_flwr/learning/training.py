"""Local training: whole epochs, or a number of minibatches that can be continued later."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dimat_flwr.learning.batches import Batch, PeerData
from dimat_flwr.learning.device import Precision, autocast
from dimat_flwr.learning.errors import TrainingError
from dimat_flwr.learning.loss import class_loss
from dimat_flwr.learning.mode import in_mode
from dimat_flwr.learning.randomness import seeded
from dimat_flwr.seeding import derive_seed


@dataclass(frozen=True)
class TrainingResult:
    """What a training did.

    Attributes:
        loss: mean cross entropy over the samples, each measured when it was trained on; None if there were none.
        samples: samples trained on, counted as often as they were used.
        steps: minibatches.
        seconds: wall-clock time.
    """

    loss: float | None
    samples: int
    steps: int
    seconds: float


def train(
    model: nn.Module,
    data: PeerData,
    optimizer: torch.optim.Optimizer,
    *,
    epochs: int,
    batch_size: int,
    generator: torch.Generator,
    precision: Precision = "auto",
) -> TrainingResult:
    """Train a model in place, in training mode, for whole epochs of shuffled and augmented minibatches.

    Args:
        model: returns class scores (B, classes); on the device of ``data``.
        data: what to train on.
        optimizer: of the model's parameters.
        epochs: >= 0.
        batch_size: see ``PeerData.epoch``.
        generator: a CPU generator for order, augmentation and dropout.
        precision: see ``autocast``.

    Raises:
        TrainingError: a loss that is not finite; found at the end of its epoch.
    """
    trace = _Trace()
    seed = int(torch.randint(2**62, (), generator=generator))
    with in_mode(model, training=True), seeded(seed, data.device):
        for epoch in range(1, epochs + 1):
            batches = data.epoch(batch_size, generator)
            trace.add(_pass(model, batches, optimizer, precision, data.device), f"epoch {epoch} of {epochs}")
    return trace.result()


def train_steps(
    model: nn.Module,
    data: PeerData,
    optimizer: torch.optim.Optimizer,
    *,
    first: int,
    steps: int,
    batch_size: int,
    seed: int,
    precision: Precision = "auto",
) -> TrainingResult:
    """Train a model in place on minibatches ``first`` to ``first + steps - 1`` of the sequence that a seed defines.

    Calls that follow each other equal one long call: the sequence runs on through the epochs, see ``PeerData.batch``.

    Args:
        model: see ``train``.
        data: see ``train``.
        optimizer: see ``train``.
        first: minibatches done before, since the beginning of the sequence.
        steps: >= 0.
        batch_size: see ``PeerData.epoch``.
        seed: of the sequence.
        precision: see ``autocast``.

    Raises:
        TrainingError: a loss that is not finite; found at the end.
    """
    trace = _Trace()

    def batches() -> Iterator[Batch]:
        for number in range(first, first + steps):
            torch.manual_seed(derive_seed(seed, round_number=number, purpose="dropout"))
            yield data.batch(number, batch_size, seed)

    with in_mode(model, training=True), seeded(seed, data.device):
        losses = _pass(model, batches(), optimizer, precision, data.device)
        trace.add(losses, f"minibatches {first} to {first + steps - 1}")
    return trace.result()


def _pass(
    model: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    device: torch.device,
) -> list[tuple[Tensor, int]]:
    """Do one optimizer step per batch; return the mean loss, still on the device, and the size of each."""
    losses = []
    for images, labels in batches:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, precision):
            loss = class_loss(model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append((loss.detach(), len(labels)))
    return losses


class _Trace:
    """Sums losses up, asking the device for them only once per epoch: every question makes it wait."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._total, self._samples, self._steps = 0.0, 0, 0

    def add(self, losses: list[tuple[Tensor, int]], where: str) -> None:
        if not losses:
            return
        values = torch.stack([loss for loss, _ in losses]).double().cpu()
        finite = values.isfinite()
        if not finite.all():
            step = int((~finite).nonzero()[0]) + 1
            raise TrainingError(
                f"the training loss became {values[step - 1].item()} in {where}, at its minibatch {step} of "
                f"{len(losses)}; try a lower optimizer.lr, training.precision=float32, or look for NaN in the weights"
            )
        sizes = torch.tensor([size for _, size in losses], dtype=torch.float64)
        self._total += float(values @ sizes)
        self._samples += int(sizes.sum())
        self._steps += len(losses)

    def result(self) -> TrainingResult:
        loss = self._total / self._samples if self._samples else None
        return TrainingResult(loss, self._samples, self._steps, time.perf_counter() - self._start)
