"""Algorithms and rules that look at samples, though they say that they do not."""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.aggregations.trust import Trust
from dimat_flwr.algorithms.interface import Inbox, Peer
from dimat_flwr.algorithms.weight_averaging import WeightAveraging
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Peeping(WeightAveraging):
    """Weight averaging that looks."""

    look: str = "gradient"
    keeps_privacy: ClassVar[bool] = True

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Look, and average."""
        if self.look == "next_batch":
            peer.next_batch()
        elif self.look == "gradient":
            peer.gradient(None, None)  # type: ignore[arg-type]
        elif self.look == "matching_inputs":
            peer.matching_inputs(10, 5)
        elif self.look == "matching_inputs pooled":
            peer.matching_inputs(10, 5, pooled=True)
        elif self.look == "pooled":
            peer.train(pooled=True)
        super().step(exchange, peer, inbox, row)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Trusting(Trust):
    """Trust that says it does not look."""

    keeps_privacy: ClassVar[bool] = True
