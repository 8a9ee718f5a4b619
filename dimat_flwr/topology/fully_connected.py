"""Fully connected: every peer hears every other."""

import networkx as nx
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.base import Topology


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FullyConnected(Topology):
    """Every peer exchanges with every other peer."""

    def draw(self, peers: int, round_number: int, seed: int) -> nx.DiGraph:
        """Return the graph; see the class."""
        return nx.complete_graph(peers).to_directed()
