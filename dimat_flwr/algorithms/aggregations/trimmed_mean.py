"""Coordinate-wise trimmed mean (Yin et al., ICML 2018, https://arxiv.org/abs/1803.01498, definition 2).

In every coordinate by itself, of the values that the peer and its neighbours have, n in all, the b largest and the b
smallest are left out and the others averaged, all with one weight, whatever W says:

    x_i[k] <- mean of sorted(x_1[k], ..., x_n[k])[b : n - b]

The peer's own value is one of them (BRIDGE-T, Fang et al. 2022, https://arxiv.org/abs/1908.08098, trims the neighbours'
values only and always takes in the own one). With b liars or fewer among n > 2b, every coordinate stays within the
range of the honest values.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.aggregations.base import Model, RobustAggregation
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrimmedMean(RobustAggregation):
    """Average what is left of each coordinate without its extremes.

    Attributes:
        byzantine: b, how many liars a peer may have among its neighbours.
    """

    byzantine: int = Field(default=1, ge=1)

    keeps_privacy: ClassVar[bool] = True

    @property
    def fewest_sources(self) -> int:
        """Return 2 b: with the peer's own there is then one value left at least."""
        return 2 * self.byzantine

    def combine(self, own: Model, others: Sequence[Model]) -> tuple[dict[str, Tensor], Row]:
        """Return the trimmed mean."""
        return trimmed_mean(own, others, self.byzantine)


def trimmed_mean(own: Model, others: Sequence[Model], b: int) -> tuple[dict[str, Tensor], Row]:
    """Return the coordinate-wise mean without the b largest and smallest values.

    Its row has the share of the coordinates in which a model was one of the m = n - 2b that are averaged, over m.
    """
    models = [own, *others]
    m = len(models) - 2 * b
    taken = torch.zeros(len(models), dtype=torch.int64)
    found: dict[str, Tensor] = {}
    for name in own.x:  # one tensor at a time, for the memory that sorting takes
        values, whose = torch.stack([model.x[name] for model in models]).sort(dim=0, stable=True)
        values, whose = values[b : b + m], whose[b : b + m]
        # Rounding must not carry the mean out of what it is the mean of.
        found[name] = values.mean(dim=0).clamp(values[0], values[-1])
        taken += torch.bincount(whose.flatten(), minlength=len(models)).cpu()
    coordinates = max(1, int(taken.sum()))
    shares = [int(count) / coordinates for count in taken]
    return found, Row(shares[0], {other.source: share for other, share in zip(others, shares[1:], strict=True)})
