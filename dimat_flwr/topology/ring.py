"""Ring: every peer hears its two neighbours."""

import networkx as nx
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.base import Topology


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Ring(Topology):
    """Peer i exchanges with i-1 and i+1 modulo N (two peers: with each other)."""

    def draw(self, peers: int, round_number: int, seed: int) -> nx.DiGraph:
        """Return the graph; see the class."""
        return nx.cycle_graph(peers).to_directed()
