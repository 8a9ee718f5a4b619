"""Stochastic gradient push (Assran et al., ICML 2019, https://arxiv.org/abs/1811.10792, Algorithm 1).

P is column-stochastic: every peer splits its mass among its readers, so that any strongly connected directed graph
will do. Update at peer i, with the push-sum weight w and the de-biased model z = x / w (w = 1 at the start):

    x_i <- sum_j P_ij x_j,   w_i <- sum_j P_ij w_j,   z_i = x_i / w_i
    x_i <- x_i - a g_i(z_i)      (H local steps from z_i: x_i <- x_i + (z_i' - z_i))

Sent: x, one state dict, and w, one number, per edge and round. A payload that is lost takes its mass with it: what is
missing from x is missing from w, and nothing is rescaled. All w together are N at most; where others' claims would
make one larger, it is N, so that nobody refuses an honest peer. The peer's model is z.
"""

import sys
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.interface import About, Algorithm, Inbox, Outbox, Peer, StateDict
from dimat_flwr.algorithms.local_displacement import local_displacement
from dimat_flwr.algorithms.parameters import moved_by, with_parameters
from dimat_flwr.component import STRICT
from dimat_flwr.merging import Mixture
from dimat_flwr.topology import Row, Sums
from dimat_flwr.wire.payload import Expected, Payload


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SGP(Algorithm):
    """Push-sum gossip with local training from the de-biased model."""

    sums: ClassVar[Sums] = "columns"
    needs_mean: ClassVar[str] = "push-sum passes on shares of mass, which must neither be clipped nor left out"
    keeps_privacy: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="Stochastic gradient push (SGP)",
        description="push-sum averaging over a directed graph, then train",
        paper="Stochastic Gradient Push for Distributed Deep Learning, ICML 2019",
        url="https://arxiv.org/abs/1811.10792",
        models_per_edge=1,
    )

    def start(self, peer: Peer) -> None:
        """Train before the first exchange; w = 1."""
        super().start(peer)
        peer.slot("push_sum")["w"] = torch.ones((), dtype=torch.float64)

    def publish(self, exchange: str, peer: Peer) -> Outbox:
        """Return x = w z, and w."""
        w = float(peer.slot("push_sum")["w"])
        return Payload(scaled(peer.state_dict(), w), {"w": w})

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Mix x and w, train from z."""
        push_sum = peer.slot("push_sum")
        own = float(push_sum["w"])
        x, w = Mixture(scaled(peer.state_dict(), own), row.own), row.own * own
        for j, payload in inbox.items():
            x.add(payload.tensors, row.sources[j])
            w += row.sources[j] * payload.numbers["w"]
        z = scaled(x.result(), 1 / w)
        w = min(w, float(peer.peers))
        push_sum["w"] = torch.tensor(w, dtype=torch.float64)
        peer.adopt(z)
        peer.evaluate("after_merge")
        if not peer.is_last:
            # x + (z' - z), and z from it again.
            displacement = local_displacement(peer)
            start = {name: z[name] for name in displacement}
            peer.adopt(moved_by(peer, with_parameters(peer, peer.state_dict(), start), displacement, 1 / w))
            peer.evaluate("after_training")

    def expects(self, exchange: str, peer: Peer) -> Expected:
        """Return a state dict, and that w is positive and at most all peers' mass."""
        return Expected(peer.tensors(), {"w": (sys.float_info.min, float(peer.peers))})


def scaled(state: Mapping[str, Tensor], factor: float) -> StateDict:
    """Return a state dict times a number; counters and other integers stay what they are."""
    return {name: tensor * factor if tensor.is_floating_point() else tensor for name, tensor in state.items()}
