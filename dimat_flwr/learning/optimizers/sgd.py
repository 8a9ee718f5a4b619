"""Plain stochastic gradient descent."""

from collections.abc import Iterable

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch.nn import Parameter

from dimat_flwr.component import STRICT
from dimat_flwr.learning.optimizers.base import OptimizerSource


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sgd(OptimizerSource):
    """x <- x - lr * g (Robbins and Monro 1951)."""

    lr: float = Field(default=0.1, gt=0, allow_inf_nan=False)

    def build(self, params: Iterable[Parameter]) -> torch.optim.Optimizer:
        """Return ``torch.optim.SGD`` without momentum."""
        return torch.optim.SGD(params, lr=self.lr, weight_decay=self.weight_decay)
