"""No exchange during the rounds."""

from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.schedules.base import Mode, Schedule


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Never(Schedule):
    """Peers train alone; with a final merge they meet once, after the last round (ICLR 2026)."""

    def exchange(self, round: int) -> Mode:
        """Return ``"none"``."""
        return "none"
