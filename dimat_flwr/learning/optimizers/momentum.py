"""Stochastic gradient descent with momentum."""

from collections.abc import Iterable

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch.nn import Parameter

from dimat_flwr.component import STRICT
from dimat_flwr.learning.optimizers.base import OptimizerSource


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Momentum(OptimizerSource):
    """v <- momentum * v + g ; x <- x - lr * v (Polyak 1964), or Nesterov's form x <- x - lr * (g + momentum * v).

    Attributes:
        momentum: share of the last step's direction that is kept.
        nesterov: Nesterov's form.
    """

    lr: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, gt=0, lt=1)
    nesterov: bool = False

    def build(self, params: Iterable[Parameter]) -> torch.optim.Optimizer:
        """Return ``torch.optim.SGD`` with momentum."""
        return torch.optim.SGD(
            params, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay
        )
