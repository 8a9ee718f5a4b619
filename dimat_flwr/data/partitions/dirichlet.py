"""Every peer gets its own mixture of the classes, drawn from a Dirichlet distribution."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.partitions.base import Indices, Partition
from dimat_flwr.seeding import derive_seed

_DRAWS = 11


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Dirichlet(Partition):
    """The shares of each class are drawn from Dirichlet(alpha, ..., alpha).

    Source: Yurochkin et al., Bayesian Nonparametric Federated Learning of Neural Networks (ICML 2019); Single global
    merging (ICLR 2026) uses alpha = 0.1. The same split, to the sample, as Flower's ``DirichletPartitioner`` with this
    seed and without shuffling, which takes two seconds to import. A draw that leaves a peer with too few samples is
    repeated up to ten times.

    Attributes:
        alpha: the smaller, the more different the peers; large values approach ``Iid``.
        self_balancing: a peer that has more than the average gets nothing of the classes still to be dealt.
    """

    alpha: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    self_balancing: bool = False

    def deal(self, strata: Indices, peers: int, seed: int) -> list[Indices]:
        """Return the parts; see ``Partition.split``."""
        generator = np.random.default_rng(derive_seed(seed, purpose="partition"))
        first = self._draw(strata, peers, generator)
        parts = first
        for _ in range(_DRAWS - 1):
            if min(map(len, parts)) >= self.min_samples:
                return parts
            parts = self._draw(strata, peers, generator)
        # If no draw did, the first one goes to the common check, whose error names the peer that is short.
        return parts if min(map(len, parts)) >= self.min_samples else first

    def remedy(self, classes: int) -> str:
        """Return what to do when a peer gets too few samples."""
        return "eleven draws gave no better split: raise partition.alpha, use fewer peers, or another seed"

    def _draw(self, strata: Indices, peers: int, generator: np.random.Generator) -> list[Indices]:
        dealt: list[list[Indices]] = [[] for _ in range(peers)]
        sizes = np.zeros(peers, dtype=np.int64)
        for c in np.unique(strata):
            members = np.flatnonzero(strata == c)
            shares = generator.dirichlet(np.full(peers, self.alpha))
            if self.self_balancing:
                shares = _without(shares, sizes > len(strata) / peers)
            cuts = (np.cumsum(shares) * len(members)).astype(np.int64)[:-1]
            for peer, part in enumerate(np.split(members, cuts)):
                dealt[peer].append(part)
                sizes[peer] += len(part)
        return [np.concatenate(parts) for parts in dealt]


def _without(shares: NDArray[np.float64], full: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the shares of those that are not full, scaled to sum to 1."""
    kept: NDArray[np.float64] = np.where(full, 0.0, shares)
    if not kept.sum():  # with a tiny alpha a full peer may have drawn everything
        kept = np.where(full, 0.0, 1.0)
    kept /= kept.sum()
    return kept
