"""AMSGrad."""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.learning.optimizers.adam import Adam


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AmsGrad(Adam):
    """Adam with the largest second moment so far instead of the current one (Reddi et al., ICLR 2018)."""

    amsgrad: ClassVar[bool] = True
