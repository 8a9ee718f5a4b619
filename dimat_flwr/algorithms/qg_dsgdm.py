"""Decentralized SGD with quasi-global momentum (Lin et al., ICML 2021, https://arxiv.org/abs/2102.04761, Algorithm 1).

The momentum is made of how the peer's model moves from merge to merge, with its neighbours' influence in it, instead of
its own gradients, which differ from everybody else's where the data do. Update at peer i, from m_i = 0:

    x_i' <- x_i - a (b m_i + g_i(x_i))          (H local steps, all with the same m_i)
    x_i+ <- sum_j W_ij x_j'
    m_i  <- mu m_i + (1 - mu) (x_i - x_i+) / (a H)

Sent: one state dict per neighbour and round; the momentum stays at its peer.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.interface import About, Algorithm, Inbox, Peer
from dimat_flwr.algorithms.parameters import trainable
from dimat_flwr.algorithms.weight_averaging import average
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class QGDSGDm(Algorithm):
    """Train with a momentum that follows the merged model, then average.

    Attributes:
        momentum: b, how much of the momentum a step takes.
        decay: mu, how much of it is kept from round to round; None: as much as ``momentum``, as in the paper.
    """

    momentum: float = Field(default=0.9, ge=0, lt=1)
    decay: float | None = Field(default=None, ge=0, lt=1)

    takes_any_optimizer: ClassVar[bool] = False
    needs_mean: ClassVar[str] = ""
    keeps_privacy: ClassVar[bool] = True
    takes_newcomers: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="Quasi-global momentum (QG-DSGDm)",
        description="train with a momentum made of the merged model's way, then average",
        paper="Quasi-Global Momentum: Accelerating Decentralized Deep Learning on Heterogeneous Data, ICML 2021",
        url="https://arxiv.org/abs/2102.04761",
        models_per_edge=1,
    )

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Merge, learn from how far that was from the last merge, and train."""
        peer.adopt(average(peer, inbox, row))
        peer.evaluate("after_merge")
        self._follow(peer)
        if not peer.is_last:
            self._train(peer)
            peer.evaluate("after_training")

    def _follow(self, peer: Peer) -> None:
        x, before, m = trainable(peer), peer.slot("merged"), peer.slot("momentum")
        mu = self.momentum if self.decay is None else self.decay
        path = float(peer.slot("path").get("length", torch.zeros(())))  # a H, 0 before the first training
        for name in before:
            m[name] = mu * m[name] + (1 - mu) / path * (before[name] - x[name])
        before.clear()

    def _train(self, peer: Peer) -> None:
        x, m, steps = trainable(peer), peer.slot("momentum"), 0
        m.update({name: torch.zeros_like(tensor) for name, tensor in x.items() if name not in m})

        def add(_: Mapping[str, Tensor], g: dict[str, Tensor]) -> dict[str, Tensor]:
            nonlocal steps
            steps += 1
            return {name: gradient + self.momentum * m[name] for name, gradient in g.items()}

        peer.train(add)
        if steps:
            peer.slot("merged").update(x)
            peer.slot("path")["length"] = torch.tensor(peer.lr * steps, dtype=torch.float64)
