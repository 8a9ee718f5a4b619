"""Erdős-Rényi random graph: every pair of peers is linked with the same probability."""

import math
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.seeding import numpy_generator
from dimat_flwr.topology.base import Topology
from dimat_flwr.topology.connected import strong_parts
from dimat_flwr.topology.errors import TopologyError
from dimat_flwr.topology.mixing import Edges

_TRIES = 1000


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ErdosRenyi(Topology):
    """A random undirected graph G(N, p), drawn from the run's seed until it is connected, the same in all rounds.

    Attributes:
        p: probability of each link, 0 < p <= 1.
    """

    p: Annotated[float, Field(gt=0, le=1)] = 0.5

    def draw(self, peers: int, round: int, seed: int) -> Edges:
        """Return the first connected draw; an error after 1000 draws without one."""
        generator = numpy_generator(seed, purpose="topology/erdos_renyi")
        for _ in range(_TRIES):
            linked = np.triu(generator.random((peers, peers)) < self.p, k=1)
            edges = np.argwhere(linked | linked.T).astype(np.int32)
            if len(strong_parts(peers, edges)) == 1:
                return edges
        raise TopologyError(
            f"none of {_TRIES} random graphs over {peers} peers with p = {self.p} was connected; raise p: "
            f"from about ln(N)/N = {math.log(peers) / peers:.2g} most are"
        )
