"""Random pull: now and then a peer asks another one, the sparsest communication there is."""

from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.seeding import numpy_generator
from dimat_flwr.topology.base import Topology
from dimat_flwr.topology.mixing import Edges


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RandomPull(Topology):
    """Each round, every peer reads with probability p from one other peer, drawn uniformly; W is row-stochastic.

    The sparse gossip of single global merging (ICLR 2026), with p = 0.2 there: 0.2 messages per peer and round.

    Attributes:
        p: probability that a peer reads from anybody in a round, 0 < p <= 1.
    """

    p: Annotated[float, Field(gt=0, le=1)] = 0.2

    def draw(self, peers: int, round: int, seed: int) -> Edges:
        """Return the graph; see the class."""
        generator = numpy_generator(seed, round_number=round, purpose="topology/random_pull")
        pulls = generator.random(peers) < self.p
        others = (np.arange(peers) + generator.integers(1, peers, peers)) % peers
        return np.stack([others, np.arange(peers)], axis=1)[pulls].astype(np.int32)

    def period(self, peers: int) -> None:
        """Return None: the graphs never repeat."""
        return None
