"""Gossip SGD: local training, then k averagings with the neighbours (adapt, then combine).

Update at peer i, each round: x_i <- H local steps or epochs from x_i, then k times x_i <- sum_j W_ij x_j, by the same
graph. With k = 1 it is weight averaging; k averagings bring a round's mixing from W to W^k and cost k times the bytes.
The optimizer keeps its state (``training.keep_optimizer``), and which rounds communicate is the schedule's choice: so
sparse, late or windowed gossip with one ``final_merge`` at the end is the second of the two papers this software began
with (Zhu et al., ICLR 2026, https://arxiv.org/abs/2507.06542).

Sent: k state dicts per edge and round.
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.interface import About, Inbox, Peer, StateDict
from dimat_flwr.algorithms.merge_and_train import MergeAndTrain
from dimat_flwr.algorithms.weight_averaging import average
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Exchange, RoundView, Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Gossip(MergeAndTrain):
    """Average k times with the neighbours, then train.

    Attributes:
        gossip_steps: k, exchanges in a round that has any.
    """

    gossip_steps: int = Field(default=1, ge=1, le=1000)

    needs_mean: ClassVar[str] = ""
    keeps_privacy: ClassVar[bool] = True
    takes_newcomers: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="Gossip SGD",
        description="train, then average k times with the neighbours",
        paper="On the Surprising Effectiveness of a Single Global Merging in Decentralized Learning, ICLR 2026",
        url="https://arxiv.org/abs/2507.06542",
        models_per_edge=1,
    )

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        """Return k exchanges along the round's graph, one where the schedule keeps silent."""
        steps = self.gossip_steps if view.mixing.edge_count else 1
        return [Exchange(f"gossip.{k}", view.mixing) for k in range(steps, 0, -1)]

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Average; the last of the k is followed by evaluation and training."""
        if exchange == "gossip.1":
            super().step(exchange, peer, inbox, row)
        else:
            peer.adopt(average(peer, inbox, row))

    def merge(self, peer: Peer, inbox: Inbox, row: Row) -> StateDict:
        """Return sum_j W_ij x_j."""
        return average(peer, inbox, row)
