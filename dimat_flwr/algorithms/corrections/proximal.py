"""Proximal term (FedProx, Li et al., MLSys 2020, https://arxiv.org/abs/1812.06127, equation 2).

Local training minimizes f_i(x) + mu/2 |x - x_i|^2, x_i being the model that it begins with (after the merge):

    g <- g_i(x) + mu (x - x_i)

Nothing more is sent, and nothing is kept.
"""

from collections.abc import Mapping

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.corrections.base import LocalCorrection, Memory
from dimat_flwr.component import STRICT
from dimat_flwr.learning import Correction


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Proximal(LocalCorrection):
    """Pull local training back to where it began.

    Attributes:
        mu: how much.
    """

    mu: float = Field(default=0.01, gt=0, allow_inf_nan=False)

    def begin(self, x: Mapping[str, Tensor], memory: Memory) -> Correction:
        """Return g + mu (x - x_i)."""
        start = x
        return lambda x, g: {name: gradient + self.mu * (x[name] - start[name]) for name, gradient in g.items()}

    def end(self, x: Mapping[str, Tensor], path: float, memory: Memory) -> None:
        """Do nothing."""
