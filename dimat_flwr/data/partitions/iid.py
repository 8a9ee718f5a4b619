"""Every peer gets the same share of every class."""

import numpy as np
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.partitions.base import Indices, Partition
from dimat_flwr.seeding import numpy_generator


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Iid(Partition):
    """Each class is shuffled and dealt like cards, so that peers differ by at most one sample, per class and in all.

    Source: the IID setting of DIMAT (Saadati et al., CVPR 2024); its code drops what does not divide evenly, this does
    not.
    """

    def deal(self, strata: Indices, peers: int, seed: int) -> list[Indices]:
        """Return the parts; see ``Partition.split``."""
        generator = numpy_generator(seed, purpose="partition")
        # One long deal over all classes: the next class goes on at the peer after the one that got the last card.
        deck = np.concatenate([generator.permutation(np.flatnonzero(strata == c)) for c in np.unique(strata)])
        return [deck[peer::peers] for peer in range(peers)]
