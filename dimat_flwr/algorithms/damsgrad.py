"""Decentralized AMSGrad (Chen, Karimi, Zhao and Li, ACML 2022, https://arxiv.org/abs/2109.03194, Algorithm 3).

Peers that scale their steps each by their own second moments do not agree on a stationary point; here the scales are
brought to agreement too. Update at peer i, with m = 0, v = 0 and s = e, u' = e at the start (s is the paper's v-hat):

    m <- b1 m + (1 - b1) g_i(x_i),   v <- b2 v + (1 - b2) g_i(x_i)^2,   s' <- s,   s <- max(s, v)
    x_i <- sum_j W_ij x_j - a m / sqrt(u),   u = max(sum_j W_ij u'_j, e)
    u'_i <- sum_j W_ij u'_j - s' + s

A round is one minibatch (``training.local_steps: 1``). Sent: x, a state dict, and u', the parameters: two models per
edge and round.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.interface import About, Algorithm, Inbox, Outbox, Peer, StateDict
from dimat_flwr.algorithms.local_gradient import local_gradient
from dimat_flwr.algorithms.parameters import moved_by, trainable
from dimat_flwr.algorithms.weight_averaging import average
from dimat_flwr.component import STRICT
from dimat_flwr.learning.optimizers.base import Betas
from dimat_flwr.merging import Mixture
from dimat_flwr.topology import Row
from dimat_flwr.wire.payload import Expected, Payload

_U = "u/"  # before the parameters' names in a payload


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DAMSGrad(Algorithm):
    """AMSGrad whose scales are mixed like the models.

    Attributes:
        betas: b1 and b2, decay of the first and second moment.
        eps: e, the smallest square of a scale.
    """

    betas: Betas = (0.9, 0.999)
    eps: float = Field(default=1e-6, gt=0, allow_inf_nan=False)

    takes_any_optimizer: ClassVar[bool] = False
    takes_local_steps: ClassVar[bool] = False
    needs_mean: ClassVar[str] = "the second moments that it mixes would not be guarded"
    keeps_privacy: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="Decentralized AMSGrad (DAMSGrad)",
        description="AMSGrad whose second moments are averaged with the neighbours, like the models",
        paper="On the Convergence of Decentralized Adaptive Gradient Methods, ACML 2022",
        url="https://arxiv.org/abs/2109.03194",
        models_per_edge=2,
    )

    def start(self, peer: Peer) -> None:
        """Train before the first exchange; s = u' = e."""
        super().start(peer)
        peer.slot("u").update({name: torch.full_like(x, self.eps) for name, x in trainable(peer).items()})

    def publish(self, exchange: str, peer: Peer) -> Outbox:
        """Return x and u'."""
        return Payload({**peer.tensors(), **_named(peer.slot("u"))})

    def expects(self, exchange: str, peer: Peer) -> Expected:
        """Return a state dict and a tensor like each parameter."""
        return Expected({**peer.tensors(), **_named(peer.slot("u"))})

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Take the gradient, mix x and u', and step; the last exchange ends with the mixture alone."""
        g = {} if peer.is_last else local_gradient(peer)
        mixed = average(peer, inbox, row)
        mixture = Mixture(_named(peer.slot("u")), row.own)
        for j, payload in inbox.items():
            mixture.add(payload.tensors, row.sources[j])
        u = mixture.result()
        peer.adopt(moved_by(peer, mixed, {name: self._step(peer, name, g[name], u) for name in g}, -peer.lr))
        peer.evaluate("after_merge")

    def _step(self, peer: Peer, name: str, g: Tensor, u: StateDict) -> Tensor:
        """Return m / sqrt(u) of one parameter, and bring its moments up to date."""
        first, second, largest = (peer.slot(kind) for kind in ("m", "v", "s"))
        first[name] = self.betas[0] * first.get(name, torch.zeros_like(g)) + (1 - self.betas[0]) * g
        second[name] = self.betas[1] * second.get(name, torch.zeros_like(g)) + (1 - self.betas[1]) * g.square()
        before = largest.get(name, torch.full_like(g, self.eps))
        largest[name] = torch.maximum(before, second[name])
        peer.slot("u")[name] = u[_U + name] - before + largest[name]
        return first[name] / u[_U + name].clamp(min=self.eps).sqrt()


def _named(parameters: Mapping[str, Tensor]) -> StateDict:
    return {_U + name: tensor for name, tensor in parameters.items()}
