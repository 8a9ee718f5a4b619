"""An optimizer's moments as named tensors, to keep them from round to round."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def save_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the optimizer's tensors as ``<parameter>/<name>`` -> CPU tensor; shapes are the parameters' or scalar."""
    saved: dict[str, Tensor] = {}
    for parameter_name, parameter in model.named_parameters():
        for name, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                saved[f"{parameter_name}/{name}"] = value.detach().cpu().clone()
    return saved


def restore_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Give a fresh optimizer over ``model``'s parameters the tensors that ``save_optimizer`` returned."""
    parameters = dict(model.named_parameters())
    for key, value in saved.items():
        parameter_name, name = key.rsplit("/", 1)
        parameter = parameters[parameter_name]
        # Step counters stay on the CPU, as torch's optimizers keep them; moments live beside their parameter.
        device = parameter.device if value.dim() else value.device
        optimizer.state[parameter][name] = value.clone().to(device)
