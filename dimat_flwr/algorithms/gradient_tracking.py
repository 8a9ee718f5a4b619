"""Gradient tracking (Di Lorenzo and Scutari, NEXT, IEEE TSIPN 2016, https://arxiv.org/abs/1602.00591).

With stochastic gradients: Pu and Nedic, Mathematical Programming 2021, https://arxiv.org/abs/1805.11454 (DSGT).
y_i follows the mean of all peers' gradients, so that peers with different data agree on the optimum of them all, with a
constant step. Update at peer i, from y_i = 0:

    x_i <- sum_j W_ij (x_j - a y_j)
    y_i <- sum_j W_ij y_j + g_i(x_i) - (g_i at the x_i before)

W is doubly stochastic: then sum_i y_i = sum_i g_i at all times. With ``training.local_steps`` H (the paper: 1) or whole
epochs, the sum of H gradients along plain steps takes the gradient's place; it does not vanish at the optimum of all.
Sent: x - a y, a state dict, and y, the parameters: two models per edge and round.

What a missing neighbour would have weighed goes to the peer itself. That keeps the sums of a symmetric W where both
directions of a link are lost. The part of y that a failed peer held, or that was lost in one direction only, is gone
for good, and what the others agree on is off by as much.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.interface import About, Algorithm, Inbox, Outbox, Peer, StateDict
from dimat_flwr.algorithms.local_gradient import local_gradient
from dimat_flwr.algorithms.merge_record import recorded_merge
from dimat_flwr.algorithms.parameters import moved_by, trainable
from dimat_flwr.algorithms.weight_averaging import average
from dimat_flwr.component import STRICT
from dimat_flwr.merging import Mixture
from dimat_flwr.topology import Exchange, RoundView, Row, TopologyError
from dimat_flwr.wire.payload import Expected, Payload

_Y = "y/"  # before the parameters' names in a payload


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GradientTracking(Algorithm):
    """Mix models and trackers of the mean gradient; step along the tracker."""

    takes_any_optimizer: ClassVar[bool] = False
    needs_mean: ClassVar[str] = "the trackers of the mean gradient that it mixes must keep their sum"
    keeps_privacy: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="Gradient tracking (DSGT)",
        description="step along a running estimate of all peers' mean gradient; exact on different data",
        paper="NEXT: In-Network Nonconvex Optimization, IEEE TSIPN 2016",
        url="https://arxiv.org/abs/1602.00591",
        models_per_edge=2,
    )

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        """Return one exchange; an error where W is not doubly stochastic."""
        if not (view.mixing.row_stochastic and view.mixing.column_stochastic):
            raise TopologyError(
                "gradient tracking needs a W whose rows and columns sum to 1; set topology.weighting="
                "metropolis_hastings, on a graph whose links go both ways, or take a graph where all have equally many"
            )
        return (Exchange("merge", view.mixing, "columns"),)

    def publish(self, exchange: str, peer: Peer) -> Outbox:
        """Return x - a y, which is what the peer's model is after a round, and y."""
        return Payload({**peer.tensors(), **_named(_tracker(peer))})

    def expects(self, exchange: str, peer: Peer) -> Expected:
        """Return a state dict and a tensor like each parameter."""
        return Expected({**peer.tensors(), **_named(trainable(peer))})

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Mix x - a y and y; unless this was the last exchange, bring y up to date and step along it."""
        row = Row(1 - sum(row.sources.values()), row.sources)
        with recorded_merge(peer, inbox, [row.own, *row.sources.values()]):
            y = Mixture(_named(_tracker(peer)), row.own)
            for j, payload in inbox.items():
                y.add(payload.tensors, row.sources[j])
            peer.adopt(average(peer, inbox, row))
        peer.evaluate("after_merge")
        if not peer.is_last:
            tracker, before, g = y.result(), peer.slot("gradient"), local_gradient(peer)
            tracked = {name: tracker[_Y + name] + g[name] - before.get(name, 0) for name in g}
            peer.slot("tracker").update(tracked)
            before.update(g)
            peer.adopt(moved_by(peer, peer.state_dict(), tracked, -peer.lr))
            peer.evaluate("after_training")


def _tracker(peer: Peer) -> StateDict:
    """Return y, which is 0 before the first gradient."""
    found = peer.slot("tracker")
    return dict(found) or {name: torch.zeros_like(tensor) for name, tensor in trainable(peer).items()}


def _named(parameters: Mapping[str, Tensor]) -> StateDict:
    return {_Y + name: tensor for name, tensor in parameters.items()}
