"""Exchange in every n-th round."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.errors import ScheduleError
from dimat_flwr.topology.schedules.base import Mode, Schedule


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EveryN(Schedule):
    """Peers exchange along the topology in rounds n, 2n, 3n, ... and train alone in the others.

    Attributes:
        n: rounds from one exchange to the next, >= 1.
    """

    n: Annotated[int, Field(ge=1)] = 2

    def exchange(self, round: int) -> Mode:
        """Return ``"topology"`` in multiples of n, else ``"none"``."""
        return "none" if round % self.n else "topology"

    def check(self, rounds: int) -> None:
        """Refuse, beside what every schedule refuses, an n that no round reaches."""
        super().check(rounds)
        if self.n > rounds > 0:
            raise ScheduleError(
                f"schedule every_n with n = {self.n} would never exchange in {rounds} rounds; "
                "lower schedule.n, raise rounds, or choose schedule: none"
            )
