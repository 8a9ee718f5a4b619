"""Krum and Multi-Krum (Blanchard et al., NeurIPS 2017, https://arxiv.org/abs/1703.02757, section 4).

Of the n models of the peer and its neighbours, each is scored by its squared distances to the n - f - 2 others that are
nearest to it, f being how many may lie:

    s(j) = sum_{k in the n - f - 2 nearest to j} |x_j - x_k|^2

and the peer takes the mean of the m models of the lowest scores, all with one weight, whatever W says: m = 1 is Krum,
more is Multi-Krum. It needs n >= 2f + 3, and m <= n - f - 2 models that are surely no outliers. Of models that score
alike the peer's own goes first, then those of the lower places.
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.aggregations.base import Model, RobustAggregation, distance, weighted_sum
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Krum(RobustAggregation):
    """Take the models that have most others near to them.

    Attributes:
        byzantine: f, how many liars a peer may have among its neighbours.
        chosen: m, how many models are averaged; None: as many as may be, n - f - 2.
    """

    byzantine: int = Field(default=1, ge=1)
    chosen: int | None = Field(default=1, ge=1)

    keeps_privacy: ClassVar[bool] = True

    @property
    def fewest_sources(self) -> int:
        """Return what n >= 2f + 3 and n >= m + f + 2 leave for the neighbours."""
        return max(2 * self.byzantine + 2, (self.chosen or 1) + self.byzantine + 1)

    def combine(self, own: Model, others: Sequence[Model]) -> tuple[dict[str, Tensor], Row]:
        """Return the mean of the chosen models."""
        models = [own, *others]
        near = len(models) - self.byzantine - 2
        squares = [[0.0] * len(models) for _ in models]
        for a in range(len(models)):
            for b in range(a):
                squares[a][b] = squares[b][a] = distance(models[a], models[b]) ** 2
        scores = {
            model.source: sum(sorted(squares[a][b] for b in range(len(models)) if b != a)[:near])
            for a, model in enumerate(models)
        }
        best = sorted(scores, key=lambda source: (scores[source], source))[: self.chosen or near]
        row = Row(
            (own.source in best) / len(best), {other.source: (other.source in best) / len(best) for other in others}
        )
        return weighted_sum(own, others, row), row
