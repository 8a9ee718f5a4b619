"""The mean: x_i <- sum_j W_ij x_j, over the peer itself and its neighbours. One neighbour that lies decides it.

Neighbours are taken one at a time: it needs memory for the sum and one of them.
"""

from collections.abc import Collection
from typing import ClassVar

from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.aggregations.base import Aggregated, Aggregation, Loss, Neighbours, State
from dimat_flwr.component import STRICT
from dimat_flwr.merging import Mixture
from dimat_flwr.topology import Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Mean(Aggregation):
    """Average by the weights of the mixing matrix."""

    is_mean: ClassVar[bool] = True
    keeps_privacy: ClassVar[bool] = True

    def shortage(self, row: Row) -> str:
        """Return nothing: any row will do."""
        return ""

    def aggregate(
        self, own: State, row: Row, neighbours: Neighbours, unmixed: Collection[str], loss: Loss
    ) -> Aggregated:
        """Return the mean of all that can be averaged, BatchNorm's statistics among it; see ``Aggregation``."""
        mixture = Mixture(own, row.own)
        for j, state in neighbours:
            mixture.add(state, row.sources[j])
        return Aggregated(mixture.result(), row)
