"""Tree: a spanning tree of another topology, where one path leads from any peer to any other."""

from collections import deque
from typing import Literal

from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.base import Topology
from dimat_flwr.topology.chain import Chain
from dimat_flwr.topology.exponential import Exponential
from dimat_flwr.topology.fully_connected import FullyConnected
from dimat_flwr.topology.ring import Ring
from dimat_flwr.topology.star import Star
from dimat_flwr.topology.torus import Torus

Of = Literal["chain", "exponential", "fully_connected", "ring", "star", "torus"]
_OF: dict[Of, type[Topology]] = {
    "chain": Chain,
    "exponential": Exponential,
    "fully_connected": FullyConnected,
    "ring": Ring,
    "star": Star,
    "torus": Torus,
}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Tree(Topology):
    """The breadth-first spanning tree of least diameter of another topology (RelaySGD, Vogels et al. 2021, section 3).

    Every peer is tried as the root; of equals the lowest is taken. Directed links count as links both ways.

    Attributes:
        of: the topology whose links the tree is made of.
    """

    of: Of = "torus"

    def draw(self, peers: int, round: int, seed: int) -> list[tuple[int, int]]:
        """Return the graph; see the class."""
        near: list[set[int]] = [set() for _ in range(peers)]
        for source, reader in _OF[self.of]().mixing(peers, 0, seed).edges:
            near[source].add(reader)
            near[reader].add(source)
        trees = [_breadth_first(near, root) for root in range(peers)]
        best = min(trees, key=_diameter)
        return [edge for child, parent in best.items() for edge in ((child, parent), (parent, child))]


def _breadth_first(near: list[set[int]], root: int) -> dict[int, int]:
    """Return child -> parent, in the order in which peers are reached."""
    parents, waiting, seen = {}, deque([root]), {root}
    while waiting:
        parent = waiting.popleft()
        for child in sorted(near[parent] - seen):
            seen.add(child)
            parents[child] = parent
            waiting.append(child)
    return parents


def _diameter(parents: dict[int, int]) -> int:
    """Return the number of links on the longest path of a tree."""
    depth: dict[int, int] = {}  # below each peer
    longest = 0
    for child in reversed(parents):
        parent, below = parents[child], depth.get(child, 0) + 1
        longest = max(longest, depth.get(parent, 0) + below)
        depth[parent] = max(depth.get(parent, 0), below)
    return longest
