"""No correction: the gradients are what they are."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.corrections.base import LocalCorrection, Memory
from dimat_flwr.component import STRICT
from dimat_flwr.learning import Correction


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NoCorrection(LocalCorrection):
    """Changes nothing."""

    corrects: ClassVar[bool] = False

    def begin(self, x: Mapping[str, Tensor], memory: Memory) -> Correction:
        """Return the gradients as they are."""
        return lambda _, g: g

    def end(self, x: Mapping[str, Tensor], path: float, memory: Memory) -> None:
        """Do nothing."""
