"""Exchange in every round, among some of the peers."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.seeding import numpy_generator
from dimat_flwr.topology.schedules.base import Mode, Schedule


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Partial(Schedule):
    """In each round a random share of the peers exchange among themselves; the others train alone.

    The topology is drawn over those who take part, always equally many (McMahan et al., AISTATS 2017, draw clients so).

    Attributes:
        share: of the peers that takes part in a round, rounded to whole peers and at least 2, 0 < share <= 1.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 0.5

    @property
    def is_partial(self) -> bool:
        """Whether anybody stays out."""
        return self.share < 1

    def exchange(self, round: int) -> Mode:
        """Return ``"topology"``."""
        return "topology"

    def takes_part(self, round: int, peers: int, seed: int) -> Sequence[int]:
        """Draw as many peers as the share says, from the seed and the round."""
        count = max(2, int(self.share * peers + 0.5))
        if count >= peers:
            return range(peers)
        generator = numpy_generator(seed, round_number=round, purpose="schedule/partial")
        return sorted(generator.permutation(peers)[:count].tolist())
