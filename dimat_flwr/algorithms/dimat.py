"""DIMAT: Decentralized Iterative Merging-And-Training (CVPR 2024, https://arxiv.org/abs/2404.08079, Algorithm 1).

Update at peer i, every round that the schedule gives an exchange:

    x_i <- sum_j W_ij P_ij x_j,   P_ij by activation matching on i's data, P_ii = I
    x_i <- E local epochs from x_i (the paper: 2)

Sent: one state dict per neighbour and round. Matching (section 3.1): for each permutation group of the network, P_ij
maximizes the summed correlation of i's units with j's permuted units over i's samples, a linear assignment problem.

That is ``frame: own``: every peer keeps its own order of units for good. With ``frame: common`` all have the order of
peer 0, as in the paper's code on a complete graph, which merges everything in agent 0's order and hands the result to
all. Here, in each of these rounds, every peer reorders its own units like those of its parent in a breadth-first tree
of the topology, matched on its own data, one exchange per level of the tree; then x_i <- sum_j W_ij x_j. So on a
complete graph all merge the same; what remains different from that code is that each peer matches on its own data and
not agent 0 on everybody's, and that elsewhere W is the graph's and orders are passed on from parent to child. Sent: one
more state dict per edge of the tree. Matching in every round fails on skewed data in either frame; what does not is to
match once, by weights: ``aligned_averaging``.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from dimat_flwr.algorithms.activation_matching import MergesByMatching
from dimat_flwr.algorithms.alignment_record import take_order
from dimat_flwr.algorithms.breadth_first import tree_exchanges
from dimat_flwr.algorithms.interface import About, Inbox, Peer
from dimat_flwr.algorithms.weight_averaging import average
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Exchange, RoundView, Row

_FRAME = "frame"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Dimat(MergesByMatching):
    """Align the neighbours' units to one's own by activation matching, average, then train.

    Attributes:
        frame: ``own``: every peer keeps its order of units; ``common``: all take that of peer 0, see the module.
    """

    frame: Literal["own", "common"] = "own"

    takes_newcomers: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="DIMAT",
        description="align the neighbours' models by activation matching, average them, then train",
        paper="DIMAT: Decentralized Iterative Merging-And-Training for Deep Learning Models, CVPR 2024",
        url="https://arxiv.org/abs/2404.08079",
        models_per_edge=1,
    )

    @property
    def keeps_own_frames(self) -> bool:
        """Whether nobody's own units ever move."""
        return self.frame == "own"

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        """Return the merge, after one exchange per level of the tree if all are to be in one order."""
        aligning = tree_exchanges(view.graph, _FRAME) if self.frame == "common" and view.mixing.edge_count else ()
        return (*aligning, *super().exchanges(view))

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Take the parent's order of units; or merge, and train."""
        if not exchange.startswith(_FRAME):
            super().step(exchange, peer, inbox, row)
            return
        for parent, payload in inbox.items():
            take_order(peer, parent, self.matching.order_like(peer, payload.tensors))

    def merge(self, peer: Peer, inbox: Inbox, row: Row) -> Mapping[str, Tensor]:
        """Return sum_j W_ij P_ij x_j; in one frame all P are I."""
        return super().merge(peer, inbox, row) if self.frame == "own" else average(peer, inbox, row)

    def faults(self, model: nn.Module) -> Sequence[str]:
        """Return why the matching does not fit a network, or the frame."""
        ignored = self.frame == "common" and self.matching.repair
        return [*super().faults(model), *(["matching.repair does nothing with frame: common"] if ignored else [])]
