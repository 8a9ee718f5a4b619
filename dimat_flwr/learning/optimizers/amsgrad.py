"""AMSGrad."""

from collections.abc import Iterable

from pydantic.dataclasses import dataclass
from torch.nn import Parameter

from dimat_flwr.component import STRICT
from dimat_flwr.learning.optimizers.adam import Adam, RunningAdam
from dimat_flwr.learning.optimizers.base import RunningOptimizer


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AmsGrad(Adam):
    """Adam with the largest second moment so far instead of the current one (Reddi et al., ICLR 2018)."""

    def build(self, params: Iterable[Parameter]) -> RunningOptimizer:
        """Return it; its state is ``Adam``'s and ``max_exp_avg_sq``."""
        return RunningAdam(
            params, lr=self.lr, weight_decay=self.weight_decay, betas=self.betas, eps=self.eps, amsgrad=True
        )
