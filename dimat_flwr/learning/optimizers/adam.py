"""Adam."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import Parameter

from dimat_flwr.component import STRICT
from dimat_flwr.learning.optimizers.base import Betas, Optimizer, RunningOptimizer
from dimat_flwr.learning.optimizers.foreach import ForeachOptimizer, with_decay


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Adam(Optimizer):
    """Steps scaled by running moments of the gradient (Kingma and Ba, ICLR 2015); weight decay joins the gradient.

    Attributes:
        betas: decay of the first and second moment.
        eps: added to the root of the second moment.
    """

    lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    betas: Betas = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0, allow_inf_nan=False)

    amsgrad: ClassVar[bool] = False
    decoupled: ClassVar[bool] = False

    def build(self, params: Iterable[Parameter]) -> RunningOptimizer:
        """Return it; its state is ``step`` (a scalar), ``exp_avg``, ``exp_avg_sq`` and AMSGrad's ``max_exp_avg_sq``."""
        return _RunningAdam(
            params,
            lr=self.lr,
            weight_decay=self.weight_decay,
            betas=self.betas,
            eps=self.eps,
            amsgrad=self.amsgrad,
            decoupled=self.decoupled,
        )


class _RunningAdam(ForeachOptimizer):
    """Adam at work; ``decoupled=True`` is AdamW, ``amsgrad=True`` AMSGrad, with ``max_exp_avg_sq`` in its state."""

    def update(self, parameters: list[Tensor], gradients: list[Tensor], settings: dict[str, Any]) -> None:
        """Take Adam's step; see ``ForeachOptimizer.update``."""
        (beta1, beta2), lr, decay = settings["betas"], settings["lr"], settings["weight_decay"]
        if settings["decoupled"]:
            torch._foreach_mul_(parameters, 1 - lr * decay)
        else:
            gradients = with_decay(parameters, gradients, decay)
        states = [self._state_of(parameter, settings["amsgrad"]) for parameter in parameters]
        first, second = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
        counters = [state["step"] for state in states]
        torch._foreach_add_(counters, 1)
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        if settings["amsgrad"]:
            largest = [state["max_exp_avg_sq"] for state in states]
            torch._foreach_maximum_(largest, second)
            second = largest
        steps = [counter.item() for counter in counters]
        roots = torch._foreach_sqrt(second)
        torch._foreach_div_(roots, [(1 - beta2**t) ** 0.5 for t in steps])
        torch._foreach_add_(roots, settings["eps"])
        torch._foreach_addcdiv_(parameters, first, roots, [-lr / (1 - beta1**t) for t in steps])

    def _state_of(self, parameter: Tensor, amsgrad: bool) -> dict[str, Tensor]:
        if parameter not in self.state:
            moments = ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if amsgrad else ()))
            # The counter is on the CPU, as torch's is, so that no step waits for the device.
            state = {"step": torch.zeros((), dtype=torch.float32, device="cpu")}
            self.state[parameter] = state | {name: torch.zeros_like(parameter) for name in moments}
        return self.state[parameter]
