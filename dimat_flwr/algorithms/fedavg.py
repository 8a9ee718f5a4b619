"""Federated averaging (McMahan et al., AISTATS 2017, https://arxiv.org/abs/1602.05629, Algorithm 1) without a server.

Every peer averages everybody's models for itself, whatever the topology, and trains on:

    x_i <- sum_j n_j x_j / sum_j n_j,   n_j samples at peer j; then E local epochs

All peers take part in every round (the paper's C = 1), with ``schedule=partial`` a share C of them, who average among
themselves; where the schedule keeps silent nobody does. In the paper each
client starts with a fresh optimizer: ``training.keep_optimizer=false``. Sent: one state dict and n_j from everybody to
everybody, N (N - 1) models a round, where a server needs 2 N.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.interface import About, Algorithm, Inbox, Outbox, Peer
from dimat_flwr.algorithms.weight_averaging import average
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Exchange, Mixing, RoundView, Row
from dimat_flwr.wire.payload import Expected, Payload


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FedAvg(Algorithm):
    """Average all peers' models, then train.

    Attributes:
        weighting: ``samples``: each model counts as much as its peer has samples; ``uniform``: all alike.
        most_samples: a peer that claims more is not believed, and its model is rejected.
    """

    weighting: Literal["samples", "uniform"] = "samples"
    most_samples: int = Field(default=10_000_000, ge=1)

    keeps_privacy: ClassVar[bool] = True
    takes_newcomers: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="Federated averaging (FedAvg)",
        description="everybody averages everybody's models, by the size of their data, then trains",
        paper="Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017",
        url="https://arxiv.org/abs/1602.05629",
        models_per_edge=1,
    )

    @property
    def needs_mean(self) -> str:
        """Why no aggregation but the mean will do where models weigh what their senders claim."""
        claimed = "a liar's model weighs as many samples as it claims; set algorithm.weighting=uniform"
        return claimed if self.weighting == "samples" else ""

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        """Return one exchange of all who take part with each other, or of nobody where the schedule keeps silent."""
        if not view.mixing.edge_count:
            return (Exchange("merge", view.mixing, "none"),)
        everybody = Mixing.complete(len(view.taking_part)).placed(view.taking_part, view.peers)
        return (Exchange("merge", everybody, "none"),)

    def publish(self, exchange: str, peer: Peer) -> Outbox:
        """Return the model, and how many samples it was trained on."""
        return Payload(peer.tensors(), {"samples": float(peer.samples)})

    def expects(self, exchange: str, peer: Peer) -> Expected:
        """Return a state dict, and that a peer has at least one sample."""
        return Expected(peer.tensors(), {"samples": (1.0, float(self.most_samples))})

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Average what arrived with the peer's own model, and train."""
        counts = {j: payload.numbers["samples"] if self.weighting == "samples" else 1 for j, payload in inbox.items()}
        own = peer.samples if self.weighting == "samples" else 1
        total = own + sum(counts.values())
        row = Row(own / total, {j: count / total for j, count in counts.items()})
        peer.adopt(average(peer, inbox, row))
        peer.evaluate("after_merge")
        if not peer.is_last:
            peer.train()
            peer.evaluate("after_training")
