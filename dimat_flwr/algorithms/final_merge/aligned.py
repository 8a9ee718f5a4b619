"""Single global merging after alignment: x_i <- (1/N) sum_j P_ij x_j, P_ij by activation matching on i's data.

Sent: one state dict per pair of peers, N (N - 1) in all.
"""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.activation_matching import MergesByMatching
from dimat_flwr.algorithms.final_merge.base import FinalMerge
from dimat_flwr.algorithms.interface import About
from dimat_flwr.component import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AlignedFinalMerge(MergesByMatching, FinalMerge):
    """Average all peers' models after aligning them to one's own units."""

    about: ClassVar[About] = About(
        name="Aligned global merging",
        description="every peer averages all models once, aligned to its own units, after the last round",
        paper="DIMAT (CVPR 2024) applied as in Single Global Merging (ICLR 2026)",
        url="https://arxiv.org/abs/2404.08079",
        models_per_edge=1,
    )
