"""Every peer gets a few shards of the samples sorted by class, and so a few classes."""

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.partitions.base import Indices, Partition
from dimat_flwr.seeding import numpy_generator


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Shards(Partition):
    """The samples, sorted by class, are cut into N s shards of one size (to a sample); each peer draws s of them.

    Source: the non-IID setting of McMahan et al. (AISTATS 2017, section 3), where s = 2.

    Attributes:
        shards_per_peer: s; with 1 or 2 most peers know one or two classes.
    """

    shards_per_peer: int = Field(default=2, ge=1)

    def deal(self, strata: Indices, peers: int, seed: int) -> list[Indices]:
        """Return the parts; see ``Partition.split``."""
        generator = numpy_generator(seed, purpose="partition/shards")
        order = generator.permutation(len(strata))  # which samples of a class lie together is drawn too
        by_class = order[np.argsort(strata[order], kind="stable")]
        shards = np.array_split(by_class, peers * self.shards_per_peer)
        drawn = generator.permutation(len(shards)).reshape(peers, self.shards_per_peer)
        return [np.concatenate([shards[shard] for shard in own]) for own in drawn]
