"""Epidemic learning (De Vos et al., NeurIPS 2023, https://arxiv.org/abs/2310.01972, Algorithm 1): random readers.

Each round every peer trains, sends its model to s peers drawn at random, and averages what it got, all with one weight:

    x_i <- H local steps or epochs from x_i
    x_i <- (x_i + sum_{j in S_i} x_j) / (1 + |S_i|)

``variant: oracle`` (EL-Oracle): a random s-regular graph, |S_i| = s; ``local`` (EL-Local): each peer draws its readers
by itself, so that S_i may be larger, smaller or empty. The graphs take the topology's place, follow from the seed, and
are drawn by the relay in both variants, as it has to know them to deliver. Rounds in which the schedule keeps silent
stay silent. Sent: one state dict along each of N s edges, others in every round.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.interface import About, Inbox, Peer, StateDict
from dimat_flwr.algorithms.merge_and_train import MergeAndTrain
from dimat_flwr.algorithms.weight_averaging import average
from dimat_flwr.component import STRICT
from dimat_flwr.seeding import numpy_generator
from dimat_flwr.topology import Exchange, Mixing, RoundView, Row, TopologyError


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Epidemic(MergeAndTrain):
    """Average with other peers in every round, drawn at random, then train.

    Attributes:
        readers: s, how many peers each one sends its model to.
        variant: ``oracle``: everybody also hears from s peers; ``local``: from whoever drew it.
    """

    readers: int = Field(default=2, ge=1)
    variant: Literal["oracle", "local"] = "oracle"

    needs_mean: ClassVar[str] = ""
    keeps_privacy: ClassVar[bool] = True
    takes_newcomers: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="Epidemic learning (EL)",
        description="send the model to a few random peers in each round, average what arrives, then train",
        paper="Epidemic Learning: Boosting Decentralized Learning with Randomized Communication, NeurIPS 2023",
        url="https://arxiv.org/abs/2310.01972",
        models_per_edge=1,
    )

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        """Return one exchange along the round's random graph."""
        if not view.mixing.edge_count:
            return (Exchange("merge", view.mixing),)
        n = len(view.taking_part)
        if self.readers >= n:
            raise TopologyError(f"no peer of {n} has {self.readers} others; lower algorithm.readers")
        edges = self._regular(view, n) if self.variant == "oracle" else self._drawn(view, n)
        return (Exchange("merge", Mixing.from_edges(n, edges, "uniform").placed(view.taking_part, view.peers)),)

    def merge(self, peer: Peer, inbox: Inbox, row: Row) -> StateDict:
        """Return the mean of the peer's own model and those that arrived."""
        return average(peer, inbox, row)

    def _regular(self, view: RoundView, n: int) -> list[tuple[int, int]]:
        """Seat the peers round a table at random; each reads from those at s random distances."""
        generator = numpy_generator(view.seed, round_number=view.round, purpose="epidemic")
        seats = generator.permutation(n)
        distances = 1 + generator.choice(n - 1, self.readers, replace=False)
        return [(int(seats[k]), int(seats[(k + distance) % n])) for k in range(n) for distance in distances]

    def _drawn(self, view: RoundView, n: int) -> list[tuple[int, int]]:
        """Let each peer draw s others."""
        found = []
        for source in range(n):
            generator = numpy_generator(view.seed, source, view.round, "epidemic")
            others = generator.choice(n - 1, self.readers, replace=False)
            found += [(source, int(other + (other >= source))) for other in np.sort(others)]
        return found
