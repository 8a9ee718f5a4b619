"""Gradients without a step, for algorithms that exchange or combine them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dimat_flwr.learning.batches import Batch
from dimat_flwr.learning.device import Precision, autocast
from dimat_flwr.learning.errors import TrainingError
from dimat_flwr.learning.loss import class_loss
from dimat_flwr.learning.mode import in_mode
from dimat_flwr.learning.randomness import seeded


def gradient(
    model: nn.Module,
    batch: Batch,
    *,
    weights: Mapping[str, Tensor] | None = None,
    update_statistics: bool = False,
    seed: int = 0,
    precision: Precision = "auto",
) -> tuple[dict[str, Tensor], float]:
    """Return the gradient of the mean cross entropy of one minibatch, computed in training mode.

    The model's parameters, their ``.grad`` and its modes stay as they are.

    Args:
        model: returns class scores (B, classes).
        batch: images (B, C, H, W) and labels (B,) on the model's device.
        weights: names of parameters and buffers to compute it at instead of the model's own; missing ones are the
            model's. A whole state dict will do.
        update_statistics: let BatchNorm's running statistics in the model take note of the batch; only with the
            model's own weights.
        seed: of the network's own randomness, such as dropout.
        precision: see ``autocast``.

    Returns:
        Name -> gradient (shape of the parameter, detached) for every parameter that requires one (zeros where it has
        no influence), and the loss.

    Raises:
        TrainingError: the loss is not finite.
        ValueError: ``update_statistics`` together with ``weights``.
    """
    if update_statistics and weights is not None:
        raise ValueError("update_statistics needs weights=None: the statistics in the model are not those of others")
    given = weights or {}
    parameters = {
        name: given.get(name, own).detach().to(own.device).requires_grad_()
        for name, own in model.named_parameters()
        if own.requires_grad
    }
    tensors: dict[str, Tensor] = dict(parameters)
    if not update_statistics:
        tensors |= {name: given.get(name, own).to(own.device, copy=True) for name, own in model.named_buffers()}
    images, labels = batch
    with in_mode(model, training=True), seeded(seed, images.device), autocast(images.device, precision):
        loss = class_loss(functional_call(model, tensors, (images,)), labels)
    value = loss.item()
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss of a minibatch of {len(labels)} is {value}; try a lower learning rate, "
            "training.precision=float32, or look for NaN in the weights"
        )
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(parameters, gradients, strict=True)), value
