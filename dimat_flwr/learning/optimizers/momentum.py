"""Stochastic gradient descent with momentum."""

from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import Parameter

from dimat_flwr.component import STRICT
from dimat_flwr.learning.optimizers.base import Optimizer, RunningOptimizer
from dimat_flwr.learning.optimizers.foreach import ForeachOptimizer, with_decay


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Momentum(Optimizer):
    """v <- momentum * v + g ; x <- x - lr * v (Polyak 1964), or Nesterov's form x <- x - lr * (g + momentum * v).

    Attributes:
        momentum: share of the last step's direction that is kept.
        nesterov: Nesterov's form.
    """

    lr: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, gt=0, lt=1)
    nesterov: bool = False

    def build(self, params: Iterable[Parameter]) -> RunningOptimizer:
        """Return it; its state is v, as ``momentum_buffer``."""
        return _RunningMomentum(
            params, lr=self.lr, weight_decay=self.weight_decay, momentum=self.momentum, nesterov=self.nesterov
        )


class _RunningMomentum(ForeachOptimizer):
    def update(self, parameters: list[Tensor], gradients: list[Tensor], settings: dict[str, Any]) -> None:
        gradients, momentum = with_decay(parameters, gradients, settings["weight_decay"]), settings["momentum"]
        for parameter in parameters:
            if parameter not in self.state:
                self.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}
        velocities = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_mul_(velocities, momentum)
        torch._foreach_add_(velocities, gradients)
        directions = torch._foreach_add(gradients, velocities, alpha=momentum) if settings["nesterov"] else velocities
        torch._foreach_add_(parameters, directions, alpha=-settings["lr"])
