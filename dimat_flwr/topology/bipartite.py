"""Bipartite graph: two halves that only talk to each other."""

import numpy as np
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.base import Topology
from dimat_flwr.topology.mixing import Edges


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Bipartite(Topology):
    """Every peer of the first half, 0 to ceil(N/2) - 1, exchanges with every peer of the second half."""

    def draw(self, peers: int, round: int, seed: int) -> Edges:
        """Return the graph; see the class."""
        half = -(-peers // 2)
        links = np.stack(np.meshgrid(np.arange(half), np.arange(half, peers)), axis=-1).reshape(-1, 2).astype(np.int32)
        return np.concatenate([links, links[:, ::-1]])
