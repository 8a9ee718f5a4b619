"""AMSGrad."""

from collections.abc import Iterable

import torch
from pydantic.dataclasses import dataclass
from torch.nn import Parameter

from dimat_flwr.component import STRICT
from dimat_flwr.learning.optimizers.adam import Adam


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AmsGrad(Adam):
    """Adam with the largest second moment so far instead of the current one (Reddi et al., ICLR 2018)."""

    def build(self, params: Iterable[Parameter]) -> torch.optim.Optimizer:
        """Return ``torch.optim.Adam`` with ``amsgrad``."""
        return torch.optim.Adam(
            params, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, amsgrad=True
        )
