"""Plain stochastic gradient descent."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import Parameter

from dimat_flwr.component import STRICT
from dimat_flwr.learning.optimizers.base import Optimizer, RunningOptimizer
from dimat_flwr.learning.optimizers.foreach import ForeachOptimizer, with_decay


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sgd(Optimizer):
    """x <- x - lr * g (Robbins and Monro 1951)."""

    lr: float = Field(default=0.1, gt=0, allow_inf_nan=False)

    plain_step: ClassVar[bool] = True

    def build(self, params: Iterable[Parameter]) -> RunningOptimizer:
        """Return it; it has no state."""
        return _RunningSgd(params, lr=self.lr, weight_decay=self.weight_decay)


class _RunningSgd(ForeachOptimizer):
    def update(self, parameters: list[Tensor], gradients: list[Tensor], settings: dict[str, Any]) -> None:
        gradients = with_decay(parameters, gradients, settings["weight_decay"])
        torch._foreach_add_(parameters, gradients, alpha=-settings["lr"])
