"""Consensus-based distributed momentum SGD (Jiang et al., NeurIPS 2017, https://arxiv.org/abs/1706.07880, CDMSGD).

Update at peer i, in Nesterov's form (``form: paper``):

    v_i <- b v_i - a g_i(x_i + b v_i)
    x_i <- sum_j W_ij x_j + v_i

and in that of the DIMAT paper's code (``form: dimat_code``):

    m_i <- b m_i + g_i(x_i)
    x_i <- sum_j W_ij x_j - a (g_i(x_i) + b m_i)

With ``training.local_steps`` H (the paper: 1) or whole epochs, the sum of H gradients along plain steps takes the
gradient's place. Sent: one state dict per neighbour and round; the momentum stays at its peer.
"""

from typing import ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.interface import About, Algorithm, Inbox, Peer, StateDict
from dimat_flwr.algorithms.local_displacement import local_displacement
from dimat_flwr.algorithms.local_gradient import local_gradient
from dimat_flwr.algorithms.parameters import moved_by, trainable, with_parameters
from dimat_flwr.algorithms.weight_averaging import average
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CDMSGD(Algorithm):
    """Average with the neighbours and add a step with momentum from where the peer was.

    Attributes:
        momentum: b.
        form: ``paper``: the gradient is taken where the momentum leads; ``dimat_code``: at x, as the code of the DIMAT
            paper does it.
    """

    momentum: float = Field(default=0.9, ge=0, lt=1)
    form: Literal["paper", "dimat_code"] = "paper"

    takes_any_optimizer: ClassVar[bool] = False
    needs_mean: ClassVar[str] = ""
    keeps_privacy: ClassVar[bool] = True
    takes_newcomers: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="Consensus-based distributed momentum SGD (CDMSGD)",
        description="average with the neighbours, plus a momentum step from one's own model",
        paper="Collaborative Deep Learning in Fixed Topology Networks, NeurIPS 2017",
        url="https://arxiv.org/abs/1706.07880",
        models_per_edge=1,
    )

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Take the step, mix what the peer was before it, and add it; the last exchange ends with the mixture alone."""
        x, step = trainable(peer), StateDict()
        if not peer.is_last:
            step = self._nesterov(peer) if self.form == "paper" else self._dimat_code(peer)
        before = with_parameters(peer, peer.tensors(), x)
        peer.adopt(moved_by(peer, average(peer, inbox, row, before), step))
        peer.evaluate("after_merge")

    def _nesterov(self, peer: Peer) -> StateDict:
        """Return v; the peer is left at x + v."""
        v = peer.slot("velocity")
        peer.adopt(moved_by(peer, peer.state_dict(), v, self.momentum))
        ahead = local_displacement(peer)
        v.update({name: self.momentum * v[name] + moved if v else moved for name, moved in ahead.items()})
        return dict(v)

    def _dimat_code(self, peer: Peer) -> StateDict:
        """Return the step -a (g + b m)."""
        m, g = peer.slot("velocity"), local_gradient(peer)
        m.update({name: self.momentum * m[name] + g[name] if m else g[name] for name in g})
        return {name: -peer.lr * (g[name] + self.momentum * m[name]) for name in g}
