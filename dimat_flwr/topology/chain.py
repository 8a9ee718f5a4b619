"""Chain: a ring with one link missing."""

import numpy as np
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.base import Topology
from dimat_flwr.topology.mixing import Edges


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Chain(Topology):
    """Peer i exchanges with i-1 and i+1 where they exist."""

    def draw(self, peers: int, round: int, seed: int) -> Edges:
        """Return the graph; see the class."""
        left = np.arange(peers - 1, dtype=np.int32)
        links = np.stack([left, left + 1], axis=1)
        return np.concatenate([links, links[:, ::-1]])
