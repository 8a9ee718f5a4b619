"""What every learning rate schedule is: a factor on the optimizer's learning rate for each round."""

from abc import ABC, abstractmethod

from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LrSchedule(ABC):
    """A warm-up, and then a factor that a subclass says in ``after_warmup``.

    Attributes:
        warmup_rounds: n: the learning rate rises in equal steps over rounds 0..n-1 and is whole in round n; round 0 is
            the training before the first exchange.
    """

    warmup_rounds: int = Field(default=0, ge=0)

    @abstractmethod
    def after_warmup(self, round: int, rounds: int) -> float:
        """Return the factor, > 0 (or 0 at the very end).

        Args:
            round: 0..rounds, counted from the end of the warm-up.
            rounds: those left after the warm-up, >= 1.
        """

    def factor(self, round: int, rounds: int) -> float:
        """Return what the optimizer's learning rate is multiplied by in a round.

        Args:
            round: 0..rounds; 0 is the training before the first exchange.
            rounds: the last round's number.
        """
        if round < self.warmup_rounds:
            return (round + 1) / (self.warmup_rounds + 1)
        return self.after_warmup(round - self.warmup_rounds, max(1, rounds - self.warmup_rounds))
