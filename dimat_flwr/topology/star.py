"""Star: everyone exchanges with peer 0 only."""

import networkx as nx
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.base import Topology


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Star(Topology):
    """Peer 0 is the hub; all others exchange with it and with nobody else."""

    def draw(self, peers: int, round_number: int, seed: int) -> nx.DiGraph:
        """Return the graph; see the class."""
        return nx.star_graph(peers - 1).to_directed()
