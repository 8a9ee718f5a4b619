"""Star: everyone exchanges with peer 0 only."""

import numpy as np
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.base import Topology
from dimat_flwr.topology.mixing import Edges


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Star(Topology):
    """Peer 0 is the hub; all others exchange with it and with nobody else."""

    def draw(self, peers: int, round: int, seed: int) -> Edges:
        """Return the graph; see the class."""
        others = np.arange(1, peers, dtype=np.int32)
        links = np.stack([np.zeros_like(others), others], axis=1)
        return np.concatenate([links, links[:, ::-1]])
