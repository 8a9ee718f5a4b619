"""Random matching: in every round the peers are paired anew."""

import numpy as np
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.seeding import numpy_generator
from dimat_flwr.topology.base import Topology
from dimat_flwr.topology.mixing import Edges


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RandomMatching(Topology):
    """Each round draws pairs from the run's seed (Boyd et al. 2006); of an odd number one peer stays alone."""

    def draw(self, peers: int, round: int, seed: int) -> Edges:
        """Return the graph; see the class."""
        order = numpy_generator(seed, round_number=round, purpose="topology/random_matching").permutation(peers)
        links = order[: peers // 2 * 2].reshape(-1, 2).astype(np.int32)
        return np.concatenate([links, links[:, ::-1]])

    def period(self, peers: int) -> None:
        """Return None: the pairs never repeat."""
        return None
