"""What every optimizer component is: settings from which a torch optimizer is built."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch.nn import Parameter

from dimat_flwr.component import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimizerSource(ABC):
    """Settings of an optimizer.

    Attributes:
        lr: learning rate.
        weight_decay: L2 penalty on the weights.
    """

    lr: float = Field(gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @abstractmethod
    def build(self, params: Iterable[Parameter]) -> torch.optim.Optimizer:
        """Return a new optimizer of these parameters, without any state."""


Beta = Annotated[float, Field(ge=0, lt=1)]
Betas = tuple[Beta, Beta]
