"""Self-centred clipping, ClippedGossip (He, Karimireddy and Jaggi 2022, https://arxiv.org/abs/2202.01545).

    x_i <- x_i + sum_j W_ij clip(x_j - x_i, tau),   clip(z, tau) = min(1, tau / |z|) z

No neighbour moves the peer by more than W_ij tau. With ``tau`` null it follows from the neighbours' distances, as the
paper has it for practice: S_i are those nearest to x_i whose weights, with W_ii, come to at most 1 - delta_max, and

    tau_i^2 = sum_{j in S_i} W_ij |x_j - x_i|^2 / delta_max

Liars that weigh delta_max or less in the row cannot raise it beyond sum_j W_ij |x_j - x_i|^2 / delta_max over the
honest j. The radius needs a neighbour j with W_ii + W_ij <= 1 - delta_max; where the nearest is none such, or those who
are sit where the peer does, it is 0, and the peer keeps its model and says so.

Neighbour j comes to weigh W_ij min(1, tau / |x_j - x_i|), and the peer the rest.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.aggregations.base import Model, RobustAggregation, distance, weighted_sum
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Row

_ROUNDING = 1e-9  # of sums of weights


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Clip(RobustAggregation):
    """Move towards every neighbour, towards none of them far.

    Attributes:
        tau: the clipping radius, a distance between models; None: adaptive.
        delta_max: the weight that liars may have in a peer's row, for the adaptive radius.
    """

    tau: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    delta_max: float = Field(default=0.25, gt=0, lt=0.5)

    keeps_privacy: ClassVar[bool] = True

    def shortage(self, row: Row) -> str:
        """Return why there is no adaptive radius for such a row."""
        if self.tau is not None or row.own + min(row.sources.values()) <= 1 - self.delta_max + _ROUNDING:
            return ""
        return (
            f"no neighbour whose weight, with the own one of {row.own:.3g}, is at most 1 - delta_max = "
            f"{1 - self.delta_max:.3g}, as Clip needs without tau"
        )

    def combine(self, own: Model, others: Sequence[Model]) -> tuple[dict[str, Tensor], Row] | str:
        """Return the clipped sum; or why the radius is 0, with which a peer would not move at all."""
        away = {other.source: distance(other, own) for other in others}
        weights = {other.source: other.weight for other in others}
        tau = self._adaptive(own.weight, weights, away) if self.tau is None else self.tau
        if tau == 0 and any(away.values()):
            return (
                f"the clipping radius is 0: no neighbour away from this peer is among the nearest that weigh, with the "
                f"own {own.weight:.3g}, at most 1 - delta_max = {1 - self.delta_max:.3g}"
            )
        sources = {j: weight * (1.0 if away[j] <= tau else tau / away[j]) for j, weight in weights.items()}
        row = Row(1 - sum(sources.values()), sources)
        return weighted_sum(own, others, row), row

    def _adaptive(self, own: float, weights: Mapping[int, float], away: Mapping[int, float]) -> float:
        near, total = own, 0.0
        for j in sorted(weights, key=lambda j: (away[j], j)):
            near += weights[j]
            if near > 1 - self.delta_max + _ROUNDING:
                break
            total += weights[j] * away[j] ** 2
        return math.sqrt(total / self.delta_max)
