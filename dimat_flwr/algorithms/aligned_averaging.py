"""Averaging in one frame: all peers take one order of units before they first average, and average plainly then.

Once, before the first merge, every peer reorders its own units like those of its parent in a breadth-first tree of the
topology, from peer 0 on, level by level: x_i <- P_i x_i, which changes no output. Then, as weight averaging:

    x_i <- sum_j W_ij x_j, then E local epochs

P_i maximizes <x_parent, P_i x_i> over all weights (Git Re-Basin, Ainsworth et al., ICLR 2023,
https://arxiv.org/abs/2209.04836), or with ``matching`` the correlation of activations on i's data, as in DIMAT (CVPR
2024). Nobody is aligned any more while training goes on, which is what spoils DIMAT's merges on skewed data.

Sent: one state dict per edge and round, and one more per edge of the tree when orders are taken. A peer whose parent is
missing then keeps its order, and those below it take that one.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from dimat_flwr.algorithms.activation_matching import ActivationMatching
from dimat_flwr.algorithms.alignment_record import take_order
from dimat_flwr.algorithms.breadth_first import tree_exchanges
from dimat_flwr.algorithms.interface import About, Inbox, Outbox, Peer
from dimat_flwr.algorithms.merge_and_train import MergeAndTrain
from dimat_flwr.algorithms.weight_averaging import average
from dimat_flwr.component import STRICT
from dimat_flwr.merging import match_weights
from dimat_flwr.symmetry import Permutation
from dimat_flwr.topology import Exchange, RoundView, Row
from dimat_flwr.wire.payload import Payload

_ALIGN = "align"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AlignedAveraging(MergeAndTrain):
    """Bring all peers into one order of units, then average and train.

    Attributes:
        matching: how units are matched by their activations; None: by their weights, which needs no data.
        realign_every: take orders anew every so many rounds after the first time; None: only once.
    """

    matching: ActivationMatching | None = None
    realign_every: int | None = Field(default=None, ge=1)

    needs_mean: ClassVar[str] = ""
    takes_newcomers: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="Averaging in one frame",
        description="bring all peers' units into one order once, then average plainly and train",
        paper="Git Re-Basin: Merging Models modulo Permutation Symmetries, ICLR 2023 (the alignment)",
        url="https://arxiv.org/abs/2209.04836",
        models_per_edge=1,
    )

    @property
    def keeps_privacy(self) -> bool:
        """Whether units are matched by weights."""
        return self.matching is None

    @property
    def pools_data(self) -> bool:
        """Whether the matching looks at other peers' samples."""
        return self.matching is not None and self.matching.match_data == "pooled"

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        """Return the merge, after one exchange per level of the tree when orders are to be taken."""
        aligning = tree_exchanges(view.graph, _ALIGN) if self._aligns(view) else ()
        return (*aligning, *super().exchanges(view))

    def publish(self, exchange: str, peer: Peer) -> Outbox:
        """Return the model; with statistics that are true of it for readers who will run it to match their units."""
        runs = exchange.startswith(_ALIGN) and self.matching is not None
        return Payload(peer.state_dict(settled=True) if runs else peer.tensors())

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Take the parent's order of units; or merge, and train."""
        if not exchange.startswith(_ALIGN):
            super().step(exchange, peer, inbox, row)
            return
        for parent, payload in inbox.items():
            take_order(peer, parent, self._order_like(peer, payload.tensors))

    def merge(self, peer: Peer, inbox: Inbox, row: Row) -> Mapping[str, Tensor]:
        """Return sum_j W_ij x_j."""
        return average(peer, inbox, row)

    def faults(self, model: nn.Module) -> Sequence[str]:
        """Return why the matching does not fit."""
        if self.matching is None:
            return []
        ignored = ["matching.repair does nothing here"] if self.matching.repair else []
        return [*self.matching.faults(model), *ignored]

    def _aligns(self, view: RoundView) -> bool:
        if not view.mixing.edge_count:
            return False
        first = next(round for round in range(1, view.round + 1) if view.mixing_at(round).edge_count)
        since = view.round - first
        return since == 0 or (self.realign_every is not None and since % self.realign_every == 0)

    def _order_like(self, peer: Peer, theirs: Mapping[str, Tensor]) -> Permutation:
        if self.matching is not None:
            return self.matching.order_like(peer, theirs)
        return match_weights(theirs, peer.tensors(), peer.spec, generator=peer.generator("weight matching"))
