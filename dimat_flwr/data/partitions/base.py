"""What every partition is: which of the training samples are whose."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.errors import PartitionError
from dimat_flwr.seeding import numpy_generator

Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Partition(ABC):
    """A way to split samples among peers; a subclass does it in ``deal``.

    Attributes:
        min_samples: a split that gives a peer fewer is refused; BatchNorm cannot train on fewer than 2.
        samples_per_peer: a peer that gets more keeps so many of them, drawn from the run's seed; None: all.
    """

    # Whether the peers share out one data set; if not, each has its own, and what it reads is all its own.
    shared: ClassVar[bool] = True

    min_samples: int = Field(default=2, ge=1)
    samples_per_peer: int | None = Field(default=None, ge=2)

    @abstractmethod
    def deal(self, strata: Indices, peers: int, seed: int) -> list[Indices]:
        """Return every peer's indices into ``strata``, in any order; see ``split``, which checks them."""

    def remedy(self, classes: int) -> str:
        """Return what to do when a peer gets too few samples; ``classes`` is the number of different strata."""
        return "use fewer peers or more samples"

    def split(self, strata: Indices, peers: int, seed: int, *, what: str = "the data set") -> list[Indices]:
        """Split all samples among the peers, a function of the arguments and the settings alone.

        Args:
            strata: (N,) the class of every training sample, see ``Dataset.train_strata``.
            peers: number of peers, >= 1.
            seed: the run's seed.
            what: the data set's name, for errors.

        Returns:
            One ascending array of indices per peer; where ``shared`` they are disjoint and, without
            ``samples_per_peer``, cover 0..N-1. Peers that were dealt one array share it: do not change it in place.

        Raises:
            PartitionError: a peer gets fewer than ``min_samples``; it names the peer and the remedy.
        """
        if peers < 1:
            raise PartitionError(f"cannot split among {peers} peers; there must be at least one")
        if self.shared and len(strata) < peers * self.min_samples:
            raise PartitionError(
                f"{what}'s {len(strata)} samples are too few for {peers} peers with min_samples = {self.min_samples} "
                f"each (peer {len(strata) // self.min_samples} would be the first to go short); use fewer peers or "
                "more samples"
            )
        parts = [_ascending(part) for part in self.deal(np.asarray(strata, dtype=np.int64), peers, seed)]
        name = type(self).__name__
        if self.shared and (len(parts) != peers or not _is_split(parts, len(strata))):
            raise PartitionError(
                f"{name}.deal returned {len(parts)} parts that are no split of {what}'s {len(strata)} samples among "
                f"{peers} peers: every index must be in exactly one of them"
            )
        for peer, part in enumerate(parts):
            if len(part) < self.min_samples:
                raise PartitionError(
                    f"partition {name} of {what}'s {len(strata)} samples among {peers} peers gives peer {peer} "
                    f"{len(part)} samples, fewer than min_samples = {self.min_samples}; "
                    f"{self.remedy(len(np.unique(strata)))}"
                )
        return [self._kept(part, peer, seed) for peer, part in enumerate(parts)]

    def _kept(self, part: Indices, peer: int, seed: int) -> Indices:
        if self.samples_per_peer is None or len(part) <= self.samples_per_peer:
            return part
        generator = numpy_generator(seed, peer, purpose="samples per peer")
        return np.sort(generator.choice(part, self.samples_per_peer, replace=False))


def _ascending(part: Indices) -> Indices:
    """Return it sorted; itself if it is, so that peers who share one array share it still."""
    return part if (np.diff(part) > 0).all() else np.sort(part)


def _is_split(parts: list[Indices], samples: int) -> bool:
    return np.array_equal(np.sort(np.concatenate(parts)), np.arange(samples))
