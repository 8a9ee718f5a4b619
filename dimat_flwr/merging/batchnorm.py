"""BatchNorm statistics of a merged model, measured anew on my own data.

The mean and variance of a mixed layer's activations are not the mix of its ancestors': averaging shrinks the variance
(Jordan et al. 2022, REPAIR, https://arxiv.org/abs/2211.08403, sec. 3), so merged networks are near chance until their
running statistics are re-estimated.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dimat_flwr.merging.check import Batch, MergeError, nonempty

RUNNING = ("running_mean", "running_var")  # the buffers of a BatchNorm that follow the data


def recalibrate_batchnorm(model: nn.Module, batches: Iterable[Batch]) -> None:
    """Set every BatchNorm's running statistics to their average over the batches, in place.

    The statistics are reset and averaged cumulatively (every batch counts the same) while only BatchNorm layers are
    in training mode: dropout and stochastic depth stay off. No gradients are computed; modes and momenta are restored.
    A network without BatchNorm statistics is left as it is and the batches are not touched. If anything fails, the
    statistics are what they were before.

    Args:
        model: the network, on the device it shall run on.
        batches: input tensors (samples, ...), or tuples of them for networks with several inputs, on any device.

    Raises:
        MergeError: there is not a single batch, or a batch gives infinite or undefined statistics.
    """
    layers = list(_batchnorms(model).values())
    if not layers:
        return
    before = [[getattr(layer, name).clone() for name in (*RUNNING, "num_batches_tracked")] for layer in layers]
    try:
        with _recalibrating(model, layers), torch.no_grad():
            for layer in layers:
                layer.reset_running_stats()
            for batch in nonempty(batches, "the recalibration of BatchNorm"):
                model(*inputs_on(batch, device_of(model)))
        _check_statistics(model)
    except BaseException:
        for layer, tensors in zip(layers, before, strict=True):
            for name, tensor in zip((*RUNNING, "num_batches_tracked"), tensors, strict=True):
                getattr(layer, name).copy_(tensor)
        raise


def running_statistics(model: nn.Module) -> frozenset[str]:
    """Return the state dict names of all BatchNorm running means and variances of ``model``."""
    return frozenset(f"{prefix}{name}" for prefix in _batchnorms(model) for name in RUNNING)


def with_state(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of ``model`` whose parameters and buffers are the very tensors of ``state``; nothing is copied.

    Args:
        model: gives the structure and everything that is not in a state dict.
        state: a state dict of the same names and shapes; training or recalibrating the copy writes into it.
    """
    replaced: dict[int, object] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        new = state[name]
        replaced[id(tensor)] = nn.Parameter(new, requires_grad=False) if isinstance(tensor, nn.Parameter) else new
    return copy.deepcopy(model, replaced)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the model's first parameter or buffer, the CPU for a model without any."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


def on_device(state: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return the state dict's tensors on ``device``, detached; those already there are shared, not copied."""
    return {name: tensor.detach().to(device) for name, tensor in state.items()}


def inputs_on(batch: Batch, device: torch.device) -> tuple[Tensor, ...]:
    """Return a batch as the tuple of a network's positional inputs on ``device``.

    Args:
        batch: a tensor (samples, ...) or a tuple of them.
        device: where to put them.

    Raises:
        MergeError: the batch is something else, or has no samples.
    """
    tensors = (batch,) if isinstance(batch, Tensor) else tuple(batch)
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise MergeError(
            f"a batch must be an input tensor or a tuple of the network's input tensors, but it is {type(batch)}. "
            "Hand in the inputs alone, without labels."
        )
    if any(tensor.shape[0] == 0 for tensor in tensors):
        raise MergeError("a batch without samples was handed in: leave empty batches out.")
    # A copy from a GPU that nobody waits for would be read before it is there.
    return tuple(tensor.to(device, non_blocking=device.type != "cpu") for tensor in tensors)


def _batchnorms(model: nn.Module) -> dict[str, _BatchNorm]:
    # InstanceNorm is left out: it normalizes each sample by itself, and torch gives it no cumulative average.
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            found[f"{name}." if name else ""] = module
    return found


def _check_statistics(model: nn.Module) -> None:
    for prefix, layer in _batchnorms(model).items():
        for name in RUNNING:
            if not bool(torch.isfinite(getattr(layer, name)).all()):
                raise MergeError(
                    f"the recalibration of BatchNorm gave NaN or infinite numbers in {prefix}{name}: "
                    "the model's activations or the batches are not finite."
                )


@contextmanager
def _recalibrating(model: nn.Module, layers: list[_BatchNorm]) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    momenta = [layer.momentum for layer in layers]
    try:
        model.eval()
        for layer in layers:
            layer.train()
            layer.momentum = None  # cumulative average
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, mode in modes:
            module.training = mode
