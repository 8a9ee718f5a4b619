"""Static exponential graph: few edges, yet every peer is at most log2(N) hops away."""

from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.base import Topology


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Exponential(Topology):
    """Peer i sends to i + 1, i + 2, i + 4, ... modulo N: ceil(log2 N) peers (Assran et al. 2019, Ying et al. 2021).

    The graph is directed, but every peer receives as much as it sends, so uniform weights are doubly stochastic.
    """

    def draw(self, peers: int, round: int, seed: int) -> list[tuple[int, int]]:
        """Return the graph; see the class."""
        hops = [2**k for k in range((peers - 1).bit_length())]
        return [(i, (i + hop) % peers) for i in range(peers) for hop in hops]
