"""A learning rate that drops every so many rounds."""

from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.learning.lr_schedules.base import LrSchedule


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StepDecay(LrSchedule):
    """Factor gamma ** (round // every).

    Attributes:
        every: rounds between two drops.
        gamma: what is left after a drop.
    """

    every: int = Field(default=10, ge=1)
    gamma: float = Field(default=0.5, gt=0, le=1)

    def after_warmup(self, round: int, rounds: int) -> float:
        """Return the factor; see ``LrSchedule.after_warmup``."""
        return float(self.gamma ** (round // self.every))
