"""Fully connected: every peer hears every other."""

from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.base import Topology
from dimat_flwr.topology.mixing import Edges, complete_edges


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FullyConnected(Topology):
    """Every peer exchanges with every other peer."""

    def draw(self, peers: int, round: int, seed: int) -> Edges:
        """Return the graph; see the class."""
        return complete_edges(peers)
