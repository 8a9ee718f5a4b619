"""Every class belongs to one peer."""

import numpy as np
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.partitions.base import Indices, Partition


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Classes(Partition):
    """Class c goes whole to peer c mod N, so that no two peers share a class; nothing is drawn at random.

    Source: the non-IID setting of DIMAT (Saadati et al., CVPR 2024): 5 peers have 20 of CIFAR-100's classes each. Its
    code cuts all classes to the size of the smallest; here nothing is dropped.
    """

    def deal(self, strata: Indices, peers: int, seed: int) -> list[Indices]:
        """Return the parts; see ``Partition.split``."""
        return [np.flatnonzero(strata % peers == peer) for peer in range(peers)]

    def remedy(self, classes: int) -> str:
        """Return what to do when a peer gets too few samples."""
        if classes == 1:
            return "its samples are of a single class, or of none (token sequences): use partition: iid"
        return "use at most as many peers as there are classes, or partition: dirichlet"
