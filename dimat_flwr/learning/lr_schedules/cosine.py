"""A learning rate that falls along half a cosine."""

from math import cos, pi

from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.learning.lr_schedules.base import LrSchedule


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Cosine(LrSchedule):
    """Factor from 1 in round 0 to ``minimum`` in the last one: m + (1 - m) (1 + cos(pi round / rounds)) / 2.

    Source: Loshchilov and Hutter, SGDR (ICLR 2017), without restarts.

    Attributes:
        minimum: the factor of the last round.
    """

    minimum: float = Field(default=0.01, gt=0, le=1)

    def after_warmup(self, round: int, rounds: int) -> float:
        """Return the factor; see ``LrSchedule.after_warmup``."""
        return self.minimum + (1 - self.minimum) * (1 + cos(pi * min(round, rounds) / rounds)) / 2
