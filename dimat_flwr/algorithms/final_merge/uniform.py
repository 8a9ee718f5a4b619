"""Single global merging: x_i <- (1/N) sum_j x_j over all peers, done by every peer for itself.

Source: Zhu et al., On the Surprising Effectiveness of a Single Global Merging in Decentralized Learning (ICLR 2026).
Sent: one state dict per pair of peers, N (N - 1) in all.
"""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.final_merge.base import FinalMerge
from dimat_flwr.algorithms.interface import About, Inbox, Peer, StateDict
from dimat_flwr.algorithms.weight_averaging import average
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class UniformFinalMerge(FinalMerge):
    """Average all peers' models as they are."""

    needs_common_frame: ClassVar[bool] = True
    needs_mean: ClassVar[str] = ""
    keeps_privacy: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="Single global merging",
        description="every peer averages all models once, after the last round",
        paper="On the Surprising Effectiveness of a Single Global Merging in Decentralized Learning, ICLR 2026",
        url="",
        models_per_edge=1,
    )

    def merge(self, peer: Peer, inbox: Inbox, row: Row) -> StateDict:
        """Return (1/N) sum_j x_j."""
        return average(peer, inbox, row)
