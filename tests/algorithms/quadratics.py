"""Least squares in float64: a data set, a network and a graph for which every algorithm can be computed by hand.

Peer i's loss is f_i(x) = 1/(2m) |Z_i x - y_i|^2 over its m rows, which are never split into minibatches, so that its
gradient is exact. The optima of the peers are far apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from dimat_flwr.component import STRICT
from dimat_flwr.data import Dataset, DataSource, Task
from dimat_flwr.topology import Topology

ROWS, FEATURES = 4, 3


def rows_of(peer: int, rows: int = ROWS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Z_i (rows, 3), whose last column is 1, and y_i (rows,)."""
    generator = np.random.default_rng([7, peer])
    features = np.concatenate([generator.normal(size=(rows, FEATURES - 1)), np.ones((rows, 1))], axis=1)
    optimum = generator.normal(size=FEATURES) * 2 + peer
    return features, features @ optimum + 0.1 * generator.normal(size=rows)


@plain_dataclass(frozen=True)
class Squares(Task):
    """Half the mean square of what the network returns."""

    num_classes: int

    def loss(self, scores: Tensor, labels: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        return scores.square().mean() / 2 if reduction == "mean" else scores.square().sum() / 2

    def tally(self, scores: Tensor, labels: Tensor) -> Tensor:
        counts = torch.bincount(labels, minlength=self.num_classes)
        return torch.stack([torch.zeros_like(counts), counts])

    def check_scores(self, shape: Sequence[int], samples: int) -> None:
        assert tuple(shape) == (samples,)

    def check_labels(self, labels: Tensor, what: str) -> None:
        assert labels.dtype == torch.int64


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Quadratics(DataSource):
    """The rows of all peers; the label of a row is the peer that has it, so that the partition is ``classes``.

    Attributes:
        num_classes: the number of peers.
        uneven: give peer i ``i`` rows more.
    """

    num_classes: int = Field(default=5, ge=2)
    uneven: bool = False

    @property
    def task(self) -> Task:
        return Squares(self.num_classes)

    def example_input(self, samples: int = 2) -> Tensor:
        return torch.zeros(samples, FEATURES + 1, dtype=torch.float64)

    def check(self) -> None:
        pass

    def read(self) -> Dataset:
        parts = [np.column_stack(rows_of(peer, self.rows(peer))) for peer in range(self.num_classes)]
        inputs = torch.from_numpy(np.concatenate(parts))
        labels = torch.from_numpy(np.repeat(np.arange(self.num_classes), [len(part) for part in parts]))
        return Dataset(inputs, labels, inputs, labels)

    def rows(self, peer: int) -> int:
        return ROWS + peer * self.uneven


class Residuals(nn.Module):
    """Z x - y for rows (B, 4) of Z and y.

    x is in two parameters, of which one is tied and has two names; ``seen`` counts batches as BatchNorm does.
    """

    def __init__(self, spread: float = 1.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.randn(FEATURES - 1, dtype=torch.float64) * spread)
        self.offset = nn.Parameter(torch.randn(1, dtype=torch.float64) * spread)
        self.again = self.slope
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, rows: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        return rows[:, : FEATURES - 1] @ self.slope + self.offset - rows[:, -1]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Alternating(Topology):
    """Two graphs in turn: links 0-1, 2-3, ... in even rounds, 1-2, 3-4, ..., N-1 - 0 in odd ones."""

    def draw(self, peers: int, round: int, seed: int) -> list[tuple[int, int]]:
        links = [(i, (i + 1) % peers) for i in range(round % 2, peers - 1 + round % 2, 2)]
        return links + [(b, a) for a, b in links]

    def period(self, peers: int) -> int:
        return 2
