"""One-peer exponential graph: one message per peer and round, and exact averaging after log2(N) rounds."""

from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.base import Topology


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OnePeerExponential(Topology):
    """In round t, peer i sends to i + 2^(t mod ceil(log2 N)) modulo N alone (Assran et al. 2019, Ying et al. 2021).

    Where N is a power of two, the matrices of one period multiply to the exact average of all peers.
    """

    def draw(self, peers: int, round: int, seed: int) -> list[tuple[int, int]]:
        """Return the graph; see the class."""
        hop = 2 ** (round % self.period(peers))
        return [(i, (i + hop) % peers) for i in range(peers)]

    def period(self, peers: int) -> int:
        """Return ceil(log2 N), the number of hops."""
        return (peers - 1).bit_length()
