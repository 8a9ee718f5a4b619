"""The same learning rate in every round."""

from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.learning.lr_schedules.base import LrSchedule


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Constant(LrSchedule):
    """Factor 1."""

    def after_warmup(self, round: int, rounds: int) -> float:
        """Return 1; see ``LrSchedule.after_warmup``."""
        return 1.0
