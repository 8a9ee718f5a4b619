"""Every peer gets its own mixture of the classes, drawn from a Dirichlet distribution."""

import warnings

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.partitions.base import Indices, Partition
from dimat_flwr.seeding import derive_seed


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Dirichlet(Partition):
    """The shares of each class are drawn from Dirichlet(alpha, ..., alpha), by Flower's ``DirichletPartitioner``.

    Source: Yurochkin et al., Bayesian Nonparametric Federated Learning of Neural Networks (ICML 2019), which Flower
    cites; Single global merging (ICLR 2026) uses alpha = 0.1. A draw that leaves a peer with too few samples is
    repeated up to ten times.

    Attributes:
        alpha: the smaller, the more different the peers; large values approach ``Iid``.
        self_balancing: a peer that has more than the average gets nothing of the classes still to be dealt.
    """

    alpha: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    self_balancing: bool = False

    def deal(self, labels: Indices, peers: int, seed: int) -> list[Indices]:
        """Return the parts; see ``Partition.split``."""
        try:
            return self._draw(labels, peers, seed, self.min_samples)
        except ValueError:
            # No draw did. The first one goes to the common check, whose error names the peer that is short.
            return self._draw(labels, peers, seed, 0)

    def remedy(self) -> str:
        """Return what to do when a peer gets too few samples."""
        return "eleven draws gave no better split: raise partition.alpha, use fewer peers, or another seed"

    def _draw(self, labels: Indices, peers: int, seed: int, min_samples: int) -> list[Indices]:
        # Importing takes two seconds, which runs with another partition need not wait for.
        from datasets import Dataset
        from flwr_datasets.partitioner import DirichletPartitioner

        columns = {"label": labels, "index": np.arange(len(labels))}
        partitioner = DirichletPartitioner(
            num_partitions=peers,
            partition_by="label",
            alpha=self.alpha,
            min_partition_size=min_samples,
            self_balancing=self.self_balancing,
            shuffle=False,
            seed=derive_seed(seed, purpose="partition"),
        )
        partitioner.dataset = Dataset.from_dict(columns)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one for each repeated draw; the last one becomes our error
            return [np.asarray(partitioner.load_partition(k)["index"][:], dtype=np.int64) for k in range(peers)]
