"""AdamW."""

from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.learning.optimizers.adam import Adam


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AdamW(Adam):
    """Adam with weight decay apart from the gradient: x <- x - lr * weight_decay * x.

    Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization (ICLR 2019).
    """

    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)

    decoupled: ClassVar[bool] = True
