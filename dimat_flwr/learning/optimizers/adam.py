"""Adam."""

from collections.abc import Iterable

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch.nn import Parameter

from dimat_flwr.component import STRICT
from dimat_flwr.learning.optimizers.base import Betas, OptimizerSource


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Adam(OptimizerSource):
    """Steps scaled by running moments of the gradient (Kingma and Ba, ICLR 2015); weight decay joins the gradient.

    Attributes:
        betas: decay of the first and second moment.
        eps: added to the root of the second moment.
    """

    lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    betas: Betas = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)

    def build(self, params: Iterable[Parameter]) -> torch.optim.Optimizer:
        """Return ``torch.optim.Adam``."""
        return torch.optim.Adam(
            params, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, amsgrad=False
        )
