"""Consensus-based distributed SGD (Jiang et al., NeurIPS 2017, https://arxiv.org/abs/1706.07880, equation 5).

Update at peer i:

    x_i <- sum_j W_ij x_j - a g_i(x_i)

The gradient is taken at the peer's model before mixing: the peer steps first, mixes what it was with the neighbours'
x_j, and adds the step. With ``training.local_steps`` H (the paper: 1) or whole epochs, the sum of H such steps from x_i
takes the gradient's place. BatchNorm's statistics are mixed as the steps left them.
Sent: one state dict per neighbour and round.
"""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.interface import About, Algorithm, Inbox, Peer
from dimat_flwr.algorithms.local_displacement import local_displacement
from dimat_flwr.algorithms.parameters import moved_by, trainable, with_parameters
from dimat_flwr.algorithms.weight_averaging import average
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CDSGD(Algorithm):
    """Average with the neighbours and add the step from where the peer was."""

    needs_mean: ClassVar[str] = ""
    keeps_privacy: ClassVar[bool] = True
    takes_newcomers: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="Consensus-based distributed SGD (CDSGD)",
        description="average with the neighbours, minus the gradient at one's own model",
        paper="Collaborative Deep Learning in Fixed Topology Networks, NeurIPS 2017",
        url="https://arxiv.org/abs/1706.07880",
        models_per_edge=1,
    )

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Mix, and add the peer's own step; the last exchange ends with the mixture alone."""
        x = trainable(peer)
        displacement = {} if peer.is_last else local_displacement(peer)
        before = with_parameters(peer, peer.tensors(), x)
        peer.adopt(moved_by(peer, average(peer, inbox, row, before), displacement))
        peer.evaluate("after_merge")
