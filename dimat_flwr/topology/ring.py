"""Ring: every peer hears its two neighbours."""

import numpy as np
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.base import Topology
from dimat_flwr.topology.mixing import Edges


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Ring(Topology):
    """Peer i exchanges with i-1 and i+1 modulo N (two peers: with each other)."""

    def draw(self, peers: int, round: int, seed: int) -> Edges:
        """Return the graph; see the class."""
        here = np.arange(peers, dtype=np.int32)
        links = np.stack([here, (here + 1) % peers], axis=1)
        return np.unique(np.concatenate([links, links[:, ::-1]]), axis=0)  # of two peers, both links are the same
