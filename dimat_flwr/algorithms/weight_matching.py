"""Averaging after weight matching (WM): DIMAT with the permutations of Git Re-Basin, which need no data.

Update at peer i: x_i <- sum_j W_ij P_ij x_j, then E local epochs; P_ii = I, and P_ij maximizes <x_i, P_ij x_j> over all
weights by coordinate descent, one linear assignment per permutation group at a time (Ainsworth et al., ICLR 2023,
https://arxiv.org/abs/2209.04836, Algorithm 1). A baseline of the DIMAT paper (CVPR 2024, section 5).

Sent: one state dict per edge and round.
"""

from collections.abc import Mapping
from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.alignment_record import record_warnings
from dimat_flwr.algorithms.interface import About, Inbox, Peer
from dimat_flwr.algorithms.merge_and_train import MergeAndTrain
from dimat_flwr.component import STRICT
from dimat_flwr.merging import align_and_mix
from dimat_flwr.topology import Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class WeightMatching(MergeAndTrain):
    """Align the neighbours' units to one's own by their weights, average, then train."""

    needs_mean: ClassVar[str] = ""
    keeps_privacy: ClassVar[bool] = True
    takes_newcomers: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="Weight matching (WM)",
        description="align the neighbours' models by their weights (Git Re-Basin), average them, then train",
        paper="Git Re-Basin: Merging Models modulo Permutation Symmetries, ICLR 2023",
        url="https://arxiv.org/abs/2209.04836",
        models_per_edge=1,
    )

    @property
    def keeps_own_frames(self) -> bool:
        """Return True: nobody's own units ever move."""
        return True

    def merge(self, peer: Peer, inbox: Inbox, row: Row) -> Mapping[str, Tensor]:
        """Return sum_j W_ij P_ij x_j, or another aggregation of the aligned models, and record what moved."""
        record_warnings(peer)
        mixed = align_and_mix(
            peer.model,
            peer.tensors(),
            [payload.tensors for payload in inbox.values()],
            [row.own, *(row.sources[j] for j in inbox)],
            spec=peer.spec,
            method="weight",
            generator=peer.generator("weight matching"),
            mix=lambda own, aligned: peer.aggregate(own, zip(inbox, aligned, strict=True), row),
        )
        for j, order in zip(inbox, mixed.permutations, strict=True):
            peer.aligned(j, order)
        return mixed.state
