"""No two peers share a class: the classes are dealt at random, as evenly as they go."""

import numpy as np
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.partitions.base import Indices, Partition
from dimat_flwr.seeding import numpy_generator


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Disjoint(Partition):
    """Each class goes whole to one peer; which classes a peer has is drawn from the seed, unlike ``Classes``."""

    def deal(self, strata: Indices, peers: int, seed: int) -> list[Indices]:
        """Return the parts; see ``Partition.split``."""
        classes = numpy_generator(seed, purpose="partition/disjoint").permutation(np.unique(strata))
        return [np.flatnonzero(np.isin(strata, classes[peer::peers])) for peer in range(peers)]

    def remedy(self, classes: int) -> str:
        """Return what to do when a peer gets too few samples."""
        return f"there are {classes} classes: use at most as many peers, or partition: shards"
