"""Gradients without a step, for algorithms that exchange or combine them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dimat_flwr.data import Task
from dimat_flwr.learning.batches import Batch, PeerData
from dimat_flwr.learning.device import Precision, autocast
from dimat_flwr.learning.errors import TrainingError
from dimat_flwr.learning.mode import in_mode
from dimat_flwr.learning.randomness import seeded


def gradient(
    model: nn.Module,
    task: Task,
    batch: Batch,
    *,
    at: Mapping[str, Tensor] | None = None,
    seed: int,
    precision: Precision = "auto",
    frozen_batchnorm: bool = False,
) -> tuple[dict[str, Tensor], float]:
    """Return the gradient of the mean loss of one minibatch, computed in training mode.

    The model's parameters, their ``.grad`` and its modes stay as they are. At the model's own weights BatchNorm's
    running statistics take note of the batch, as in a training step; at others' nothing in the model changes.

    Args:
        model: on the device of the batch.
        task: makes the loss of its scores.
        batch: inputs (B, ...) and labels.
        at: names of parameters and buffers to compute it at instead of the model's own; missing ones are the model's. A
            whole state dict will do. None: at the model's own.
        seed: of the network's own randomness, such as dropout.
        precision: see ``autocast``.
        frozen_batchnorm: see ``in_mode``.

    Returns:
        Name -> gradient (shape of the parameter, detached) for every parameter that requires one (zeros where it has
        no influence), and the loss.

    Raises:
        TrainingError: the loss is not finite.
    """
    inputs, labels = batch
    parameters: dict[str, Tensor] = {name: own for name, own in model.named_parameters() if own.requires_grad}
    with in_mode(model, training=True, frozen_batchnorm=frozen_batchnorm), seeded(seed, inputs.device):
        if at is None:
            with autocast(inputs.device, precision):
                scores = model(inputs)
        else:
            given = {name: at.get(name, own).detach().to(own.device) for name, own in model.named_parameters()}
            parameters = {name: given[name].requires_grad_() for name in parameters}
            # Copies, for the running statistics would change under way.
            buffers = {name: at.get(name, own).to(own.device, copy=True) for name, own in model.named_buffers()}
            with autocast(inputs.device, precision):
                scores = torch.func.functional_call(model, {**given, **buffers}, (inputs,))
        loss = task.loss(scores, labels)
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
    value = loss.item()
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss of a minibatch of {len(labels)} is {value}; try a lower optimizer.lr, "
            "training.precision=float32, or look for NaN in the weights"
        )
    # The zeros of torch before 2.7 require gradients themselves.
    return {name: found.detach() for name, found in zip(parameters, gradients, strict=True)}, value


def full_gradient(
    model: nn.Module,
    task: Task,
    data: PeerData,
    *,
    at: Mapping[str, Tensor],
    batch_size: int,
    seed: int,
    precision: Precision = "auto",
    frozen_batchnorm: bool = False,
) -> dict[str, Tensor]:
    """Return the gradient of the mean loss over all samples, computed in training mode; nothing in the model changes.

    Args:
        model: on the device of the data.
        task: makes the loss of its scores.
        data: without augmentation, in minibatches of an order of their own; all samples count alike.
        at: see ``gradient``.
        batch_size: see ``PeerData.epoch``.
        seed: of the order and of the network's own randomness.
        precision: see ``autocast``.
        frozen_batchnorm: see ``in_mode``.

    Raises:
        ArithmeticError: it holds NaN or infinity, though the loss may be finite.
        TrainingError: the loss is not finite.
    """
    generator, total = torch.Generator().manual_seed(seed), dict[str, Tensor]()
    for batch in data.epoch(batch_size, generator, augment=False):
        found, _ = gradient(
            model, task, batch, at=at, seed=seed, precision=precision, frozen_batchnorm=frozen_batchnorm
        )
        share = len(batch[1]) / len(data)
        total = {name: total.get(name, 0) + share * part for name, part in found.items()}
    if not all(bool(torch.isfinite(part).all()) for part in total.values()):
        raise ArithmeticError("the gradient of all samples holds NaN or infinite values")
    return total
