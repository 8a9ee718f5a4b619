"""A tree from peer 0 to everybody along a graph, level by level, and one exchange for each of its levels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dimat_flwr.topology import Exchange, Mixing, TopologyError

if TYPE_CHECKING:
    import networkx as nx

ROOT = 0


def tree_exchanges(graph: "nx.DiGraph", name: str) -> Sequence[Exchange]:
    """Return exchanges ``<name>.1``, ``<name>.2``, ...: in number k those k links from the root read from their parent.

    Args:
        graph: nodes 0..N-1; an edge j -> i where i may read from j.
        name: of the exchanges.

    Raises:
        TopologyError: somebody cannot be reached from the root.
    """
    peers, level, reached = graph.number_of_nodes(), [ROOT], {ROOT}
    found: list[Exchange] = []
    while level:
        edges = []
        for parent in level:
            children = sorted(set(graph.successors(parent)) - reached)
            edges += [(parent, child) for child in children]
            reached.update(children)
        level = [child for _, child in edges]
        if edges:
            along = Mixing(np.zeros(peers), np.array(edges, np.int32), np.ones(len(edges)))
            found.append(Exchange(f"{name}.{len(found) + 1}", along, "none"))
    if len(reached) < peers:
        raise TopologyError(
            f"peers {sorted(set(graph.nodes) - reached)[:5]} cannot be reached from peer {ROOT}, in whose order of "
            "units all are to be; choose a connected topology that repeats"
        )
    return found
