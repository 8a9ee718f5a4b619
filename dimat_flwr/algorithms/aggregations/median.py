"""Coordinate-wise median (Yin et al., ICML 2018, https://arxiv.org/abs/1803.01498, definition 1).

In every coordinate by itself the median of the values that the peer and its neighbours have; the mean of the middle two
where they are even in number. It is the trimmed mean with the largest b, needs no guess of how many lie, takes no
notice of W, and stays within the range of the honest values as long as they are more than half.
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.aggregations.base import Model, RobustAggregation
from dimat_flwr.algorithms.aggregations.trimmed_mean import trimmed_mean
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Median(RobustAggregation):
    """Take the middle of each coordinate."""

    keeps_privacy: ClassVar[bool] = True

    @property
    def fewest_sources(self) -> int:
        """Return 2: the median of two values is their mean, which one liar decides."""
        return 2

    def combine(self, own: Model, others: Sequence[Model]) -> tuple[dict[str, Tensor], Row]:
        """Return the median."""
        return trimmed_mean(own, others, len(others) // 2)
