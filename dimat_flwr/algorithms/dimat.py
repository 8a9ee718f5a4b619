"""DIMAT: Decentralized Iterative Merging-And-Training (CVPR 2024, https://arxiv.org/abs/2404.08079, Algorithm 1).

Update at peer i, every round that the schedule gives an exchange:

    x_i <- sum_j W_ij P_ij x_j,   P_ij by activation matching on i's data, P_ii = I
    x_i <- E local epochs from x_i (the paper: 2)

Sent: one state dict per neighbour and round. Matching (section 3.1): for each permutation group of the network, P_ij
maximizes the summed correlation of i's units with j's permuted units over i's samples, a linear assignment problem.
"""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.activation_matching import MergesByMatching
from dimat_flwr.algorithms.interface import About
from dimat_flwr.component import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Dimat(MergesByMatching):
    """Align the neighbours' units to one's own by activation matching, average, then train."""

    keeps_own_frames: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="DIMAT",
        description="align the neighbours' models by activation matching, average them, then train",
        paper="DIMAT: Decentralized Iterative Merging-And-Training for Deep Learning Models, CVPR 2024",
        url="https://arxiv.org/abs/2404.08079",
        models_per_edge=1,
    )
