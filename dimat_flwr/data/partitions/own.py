"""Nothing is split: every peer has data of its own."""

from typing import ClassVar

import numpy as np
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.partitions.base import Indices, Partition


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Own(Partition):
    """Every peer takes all samples of the data set that its own device reads, and nobody needs another's."""

    shared: ClassVar[bool] = False

    def deal(self, strata: Indices, peers: int, seed: int) -> list[Indices]:
        """Return all indices for every peer; see ``Partition.split``."""
        return [np.arange(len(strata))] * peers
