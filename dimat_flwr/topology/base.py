"""What every topology is: a directed graph over the peers, the same for all rounds or repeating, and its weights."""

from abc import ABC, abstractmethod
from functools import cached_property

import networkx as nx
import numpy as np
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.errors import TopologyError
from dimat_flwr.topology.mixing import Mixing, Weights
from dimat_flwr.topology.spectral import spectral_gap


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Topology(ABC):
    """Who receives from whom, and with what weight.

    A subclass draws its graph in ``draw``; one that changes over rounds also says after how many it repeats.

    Attributes:
        weights: how a graph becomes a mixing matrix, see ``Mixing.from_graph``.
    """

    weights: Weights = "uniform"

    @abstractmethod
    def draw(self, peers: int, round_number: int, seed: int) -> nx.DiGraph:
        """Return the graph of one round, a function of the arguments alone.

        Args:
            peers: the number of peers N, >= 2.
            round_number: the round; within 0..period-1 where the topology repeats.
            seed: the run's seed, for topologies that draw at random.

        Returns:
            Nodes 0..N-1; an edge j->i means that i receives from j.

        Raises:
            TopologyError: there is no such graph of N peers.
        """

    def period(self, peers: int) -> int | None:
        """Return after how many rounds the graphs repeat: 1 is a static graph, None one that never repeats."""
        return 1

    def graph(self, peers: int, round_number: int, seed: int) -> nx.DiGraph:
        """Return the checked, frozen graph of a round; see ``draw`` for arguments and meaning.

        Raises:
            TopologyError: fewer than 2 peers, no such graph of N peers, or information from some peer never reaches
                some other (the graphs of one period together are not strongly connected).
        """
        if peers < 2:
            raise TopologyError(f"a topology needs at least 2 peers, not {peers}; raise num-supernodes")
        period = self.period(peers)
        if period is None:
            return self._draw_checked(peers, round_number, seed)
        if (peers, seed) not in self._cycles:
            cycle = [self._draw_checked(peers, k, seed) for k in range(period)]
            self._require_connected(nx.compose_all(cycle))
            self._cycles[peers, seed] = cycle
        return self._cycles[peers, seed][round_number % period]

    def mixing(self, peers: int, round_number: int, seed: int) -> Mixing:
        """Return the mixing matrix of a round; arguments and errors are those of ``graph``."""
        return Mixing.from_graph(self.graph(peers, round_number, seed), self.weights)

    def spectral_gap(self, peers: int, seed: int) -> float | None:
        """Return the spectral gap of one period's product of mixing matrices; None where the graphs never repeat."""
        period = self.period(peers)
        if period is None:
            return None
        product = np.eye(peers)
        for k in range(period):
            product = self.mixing(peers, k, seed).matrix @ product
        return spectral_gap(product)

    @cached_property
    def _cycles(self) -> dict[tuple[int, int], list[nx.DiGraph]]:
        """The graphs of one period by (peers, seed): static graphs are drawn and checked once."""
        return {}

    def _draw_checked(self, peers: int, round_number: int, seed: int) -> nx.DiGraph:
        graph = self.draw(peers, round_number, seed)
        name = type(self).__name__
        if set(graph.nodes) != set(range(peers)):
            raise TopologyError(f"{name}.draw must return the nodes 0..{peers - 1}, not {sorted(graph.nodes)}")
        loops = sorted(nx.nodes_with_selfloops(graph))
        if loops:
            raise TopologyError(f"{name}.draw must not return self loops (weights add them), but did for {loops}")
        return nx.freeze(graph)

    def _require_connected(self, graph: nx.DiGraph) -> None:
        components = sorted(sorted(c) for c in nx.strongly_connected_components(graph))
        if len(components) == 1:
            return
        listed = "; ".join("{" + ", ".join(map(str, c)) + "}" for c in components)
        if nx.is_weakly_connected(graph):
            remedy = "make the graph strongly connected: some of these only send to others and never hear from them"
        else:
            remedy = "add edges between them"
        raise TopologyError(
            f"{type(self).__name__} over {len(graph)} peers falls into {len(components)} parts that cannot all reach "
            f"each other: {listed}; {remedy}"
        )
