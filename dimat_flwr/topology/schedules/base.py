"""What every schedule is: which graph is used in which round, and who takes part in it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args

from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.errors import ScheduleError

Mode = Literal["none", "topology", "fully_connected"]
_MODES = get_args(Mode)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Schedule(ABC):
    """When peers exchange."""

    @abstractmethod
    def exchange(self, round: int) -> Mode:
        """Return how peers exchange in a round >= 1, whatever the run's length."""

    @property
    def is_partial(self) -> bool:
        """Whether ``takes_part`` leaves anybody out in any round."""
        return False

    def takes_part(self, round: int, peers: int, seed: int) -> Sequence[int]:
        """Return who exchanges in a round >= 1 in which anybody does, ascending; the graph is drawn over these.

        Args:
            round: the round.
            peers: how many there are.
            seed: of graphs, for schedules that draw at random.
        """
        return range(peers)

    def participants(self, round: int, peers: int, seed: int) -> Sequence[int]:
        """Return ``takes_part``; a ``ScheduleError`` where it raises something or returns no ascending peers."""
        name = f"{type(self).__name__}.takes_part({round}, {peers}, {seed})"
        try:
            found = self.takes_part(round, peers, seed)
            found = found if isinstance(found, range) else [int(peer) for peer in found]
        except ScheduleError:
            raise
        # See ``mode``.
        except Exception as error:
            raise ScheduleError(f"{name} raised {type(error).__name__}: {error}") from error
        if found != range(peers) and (list(found) != sorted(set(found)) or not set(found) <= set(range(peers))):
            raise ScheduleError(f"{name} must return ascending peers of 0..{peers - 1}, not {found!r}")
        return found

    def check(self, rounds: int) -> None:
        """Raise ``ScheduleError`` where the schedule does not fit a run of this many rounds."""
        if rounds < 0:
            raise ScheduleError(f"a run cannot have {rounds} rounds; set rounds to 0 or more")

    def mode(self, round: int, rounds: int) -> Mode:
        """Return how peers exchange in a round.

        Args:
            round: 1..rounds, or 0 for the local pre-training, which never exchanges.
            rounds: the rounds of the run.

        Returns:
            ``"none"`` (peers train alone), ``"topology"`` (along the run's graph) or ``"fully_connected"``.

        Raises:
            ScheduleError: the schedule does not fit the run, there is no such round, or the schedule raised
                something or returned something else than a mode.
        """
        try:
            self.check(rounds)
            if not 0 <= round <= rounds:
                raise ScheduleError(f"there is no round {round} in a run of {rounds}: rounds are 0..{rounds}")
            mode = self.exchange(round) if round else "none"
        except ScheduleError:
            raise
        # A schedule may be anybody's code and raise anything; one error with its name is what its author needs.
        except Exception as error:
            raise ScheduleError(
                f"{type(self).__name__} raised {type(error).__name__} for round {round} of {rounds}: {error}"
            ) from error
        if mode not in _MODES:
            wanted = ", ".join(map(repr, _MODES))
            raise ScheduleError(f"{type(self).__name__}.exchange({round}) must return one of {wanted}, not {mode!r}")
        return mode
