"""Two tiny algorithms that need what the interface has to carry and the shipped ones do not use."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.interface import About, Algorithm, Inbox, Outbox, Peer, Phase, Weights
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Mixing
from dimat_flwr.topology.mixing import Sums
from dimat_flwr.wire.payload import Payload


def vector(peer: Peer) -> Tensor:
    """Return a known starting value of each peer: (index, index^2)."""
    return torch.tensor([peer.index, peer.index**2], dtype=torch.float64)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ToyPushSum(Algorithm):
    """Push-sum averaging (Kempe 2003): x and w are mixed by a column-stochastic P, z = x / w is the average.

    Needs a number beside the tensors, state that stays at the peer, and columns that are not renormalized.
    """

    sums: ClassVar[Sums] = "columns"
    about: ClassVar[About] = About("toy push-sum", "", "", "", 1)

    def start(self, peer: Peer) -> Outbox:
        peer.tensors["x"], peer.numbers["w"] = vector(peer), 1.0
        return self._publish(peer)

    def step(self, phase: str, peer: Peer, inbox: Inbox, weights: Weights) -> Outbox:
        x, w = weights.own * peer.tensors["x"], weights.own * peer.numbers["w"]
        for j, payload in inbox.items():
            x = x + weights.neighbours[j] * payload.tensors["x"]
            w = w + weights.neighbours[j] * payload.numbers["w"]
        peer.tensors["x"], peer.numbers["w"] = x, w
        peer.record("state", z=(x / w).tolist(), w=w)
        return self._publish(peer)

    def expects(self, phase: str, peer: Peer) -> Mapping[str, Tensor]:
        return {"x": vector(peer)}

    def _publish(self, peer: Peer) -> Payload:
        return Payload({"x": peer.tensors["x"]}, {"w": peer.numbers["w"]})


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ToyTwoPhase(Algorithm):
    """Phase "ask": values out; phase "answer": to each asker the product of its value and mine, as CGA's gradients.

    Needs two phases a round, the second along the reversed graph, and one payload per neighbour.
    """

    about: ClassVar[About] = About("toy two-phase", "", "", "", 2)

    def phases(self, round_number: int, mixing: Mixing) -> Sequence[Phase]:
        reverse = mixing.matrix.T / mixing.matrix.T.sum(axis=1, keepdims=True)
        return (Phase("ask", mixing), Phase("answer", Mixing(reverse)))

    def start(self, peer: Peer) -> Outbox:
        return Payload({"v": vector(peer) + 1})

    def step(self, phase: str, peer: Peer, inbox: Inbox, weights: Weights) -> Outbox:
        mine = vector(peer) + 1
        if phase == "ask":
            return {j: Payload({"product": payload.tensors["v"] * mine}) for j, payload in inbox.items()}
        answers = {str(j): payload.tensors["product"].tolist() for j, payload in inbox.items()}
        peer.record("answers", sources=list(answers), products=list(answers.values()))
        return Payload({"v": mine})

    def expects(self, phase: str, peer: Peer) -> Mapping[str, Tensor]:
        return {"v" if phase == "ask" else "product": vector(peer)}
