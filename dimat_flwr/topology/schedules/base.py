"""What every schedule is: which graph is used in which round, and whether all peers merge once at the end."""

from abc import ABC, abstractmethod
from typing import Literal

from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.errors import ScheduleError

Mode = Literal["none", "topology", "fully_connected"]
FinalMerge = Literal["none", "uniform", "gossip", "aligned"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Schedule(ABC):
    """When peers exchange.

    Attributes:
        final_merge: what follows the last round: ``none``; ``uniform``: every peer averages all models (the single
            global merging of ICLR 2026); ``gossip``: one more exchange along the topology; ``aligned``: every peer
            averages all models after aligning them to its own units.
    """

    final_merge: FinalMerge = "none"

    @abstractmethod
    def exchange(self, round_number: int) -> Mode:
        """Return how peers exchange in a round >= 1, whatever the run's length."""

    def check(self, rounds: int) -> None:
        """Raise ``ScheduleError`` where the schedule does not fit a run of this many rounds."""
        if rounds < 0:
            raise ScheduleError(f"a run cannot have {rounds} rounds; set rounds to 0 or more")

    def mode(self, round_number: int, rounds: int) -> Mode:
        """Return how peers exchange in a round.

        Args:
            round_number: 1..rounds, or 0 for the local pre-training, which never exchanges.
            rounds: the rounds of the run.

        Returns:
            ``"none"`` (peers train alone), ``"topology"`` (along the run's graph) or ``"fully_connected"``.

        Raises:
            ScheduleError: the schedule does not fit the run, or there is no such round.
        """
        self.check(rounds)
        if not 0 <= round_number <= rounds:
            raise ScheduleError(f"there is no round {round_number} in a run of {rounds}: rounds are 0..{rounds}")
        return self.exchange(round_number) if round_number else "none"
