"""Chain: a ring with one link missing."""

import networkx as nx
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.base import Topology


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Chain(Topology):
    """Peer i exchanges with i-1 and i+1 where they exist."""

    def draw(self, peers: int, round_number: int, seed: int) -> nx.DiGraph:
        """Return the graph; see the class."""
        return nx.path_graph(peers).to_directed()
