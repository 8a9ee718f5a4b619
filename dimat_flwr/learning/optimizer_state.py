"""An optimizer's moments as named tensors, to keep them from round to round and to permute them with the model."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dimat_flwr.learning.errors import TrainingError
from dimat_flwr.learning.optimizers.base import RunningOptimizer


def save_optimizer(optimizer: RunningOptimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the optimizer's tensors as ``<parameter>/<name>``: shaped like the parameter, or scalars.

    They are the optimizer's own tensors, on its device, not copies: the optimizer must not be used any more.

    Args:
        optimizer: of ``model``'s parameters.
        model: names them.
    """
    state = optimizer.state
    return {
        f"{parameter_name}/{name}": value.detach() if value.requires_grad else value
        for parameter_name, parameter in model.named_parameters()
        for name, value in state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(
    optimizer: RunningOptimizer, model: nn.Module, saved: Mapping[str, Tensor], *, copy: bool = True
) -> None:
    """Give a fresh optimizer over ``model``'s parameters the tensors that ``save_optimizer`` returned.

    Args:
        optimizer: without state.
        model: whose parameters the optimizer changes.
        saved: ``<parameter>/<name>`` -> tensor.
        copy: leave ``saved`` as it is; False hands its tensors over, to be changed by the next step.

    Raises:
        TrainingError: they belong to another network.
    """
    parameters = dict(model.named_parameters())
    for key, value in saved.items():
        parameter_name, _, name = key.rpartition("/")
        parameter = parameters.get(parameter_name)
        if parameter is None or (value.dim() and value.shape != parameter.shape):
            raise TrainingError(
                f"the optimizer's '{key}' {tuple(value.shape)} belongs to no parameter of this network; it was kept "
                "for another one, or by another version: train without it"
            )
        # Counters stay on the CPU, as torch's optimizers keep them; moments live beside their parameter.
        counter = name == "step" or value.dim() < parameter.dim()
        device = value.device if counter else parameter.device
        moment = value.to(device, copy=copy)
        if not counter and moment.stride() != parameter.stride():
            # Kept and sent moments are row by row; beside a parameter in channels-last order every step would take them
            # tensor by tensor, and element by element in two orders.
            moment = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        optimizer.state.setdefault(parameter, {})[name] = moment.detach()
