"""AdamW."""

from collections.abc import Iterable

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch.nn import Parameter

from dimat_flwr.component import STRICT
from dimat_flwr.learning.optimizers.adam import Adam, RunningAdam
from dimat_flwr.learning.optimizers.base import RunningOptimizer


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AdamW(Adam):
    """Adam with weight decay apart from the gradient: x <- x - lr * weight_decay * x.

    Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization (ICLR 2019).
    """

    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)

    def build(self, params: Iterable[Parameter]) -> RunningOptimizer:
        """Return it; its state is ``Adam``'s."""
        return RunningAdam(
            params,
            lr=self.lr,
            weight_decay=self.weight_decay,
            betas=self.betas,
            eps=self.eps,
            amsgrad=False,
            decoupled=True,
        )
