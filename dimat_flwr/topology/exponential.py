"""Static exponential graph: few edges, yet every peer is at most log2(N) hops away."""

import networkx as nx
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.base import Topology


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Exponential(Topology):
    """Peer i sends to i + 1, i + 2, i + 4, ... modulo N: ceil(log2 N) peers (Assran et al. 2019, Ying et al. 2021).

    The graph is directed, but every peer receives as much as it sends, so uniform weights are doubly stochastic.
    """

    def draw(self, peers: int, round_number: int, seed: int) -> nx.DiGraph:
        """Return the graph; see the class."""
        graph = nx.DiGraph()
        graph.add_nodes_from(range(peers))
        hops = [2**k for k in range((peers - 1).bit_length())]
        graph.add_edges_from((i, (i + hop) % peers) for i in range(peers) for hop in hops)
        return graph
