"""Trust in what does well on one's own data: UBAR (Guo et al., IEEE TCSVT 2022, https://arxiv.org/abs/2002.08569).

Two filters, of which the second is one that a liar cannot pass by being near. Update at peer i with neighbours N_i:

    S_i = the max(1, floor(rho |N_i|)) neighbours with the smallest |x_j - x_i|
    R_i = {j in S_i: l_i(x_j) <= l_i(x_i) + slack}, or the one j in S_i with the smallest l_i(x_j) if there are none
    x_i <- alpha x_i + (1 - alpha) / |R_i| sum_{j in R_i} x_j

l_i is the mean loss on a sample of i's own training data, drawn anew every round. The paper has slack = 0 and takes one
minibatch a round, after which neighbours are about as good on i's data as i itself. After whole epochs of local
training they are not: without slack nearly every merge is with one neighbour alone. Of W at most W_ii is used.

The loss is measured in evaluation mode; with ``batchnorm.policy: recalibrate`` BatchNorm's statistics are first
measured for each model on the same samples, as they will be for the merged one. It costs one or two passes over the
samples for each model in S_i and the own one.
"""

from collections.abc import Sequence

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.aggregations.base import Model, RobustAggregation, distance, weighted_sum
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Row

_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Trust(RobustAggregation):
    """Average with those neighbours that are near and do well on the peer's own data.

    Attributes:
        rho: the share of neighbours that are sure to be honest.
        alpha: the peer's own weight; None: W_ii.
        slack: how much worse than the own one a neighbour's loss may be, in the task's loss.
        samples: own training samples to measure the loss on (all of the peer's if it has fewer).
    """

    rho: float = Field(default=0.5, gt=0, le=1)
    alpha: float | None = Field(default=None, ge=0, lt=1)
    slack: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    samples: int = Field(default=100, ge=2)

    def combine(self, own: Model, others: Sequence[Model]) -> tuple[dict[str, Tensor], Row]:
        """Return the mean of what passed both filters and the own model."""
        away = {other.source: distance(other, own) for other in others}
        by_distance = sorted(others, key=lambda other: (away[other.source], other.source))
        near = by_distance[: max(1, int(self.rho * len(others) + _ROUNDING))]
        losses = {other.source: other.loss(self.samples) for other in near}
        most = own.loss(self.samples) + self.slack
        passed = [j for j in losses if losses[j] <= most] or [min(losses, key=lambda j: (losses[j], j))]
        alpha = own.weight if self.alpha is None else self.alpha
        share = (1 - alpha) / len(passed)
        row = Row(alpha, {other.source: share if other.source in passed else 0.0 for other in others})
        return weighted_sum(own, others, row), row
