"""Exchange in every round."""

from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.schedules.base import Mode, Schedule


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Always(Schedule):
    """Peers exchange along the topology in every round (DIMAT, CVPR 2024)."""

    def exchange(self, round: int) -> Mode:
        """Return ``"topology"``."""
        return "topology"
