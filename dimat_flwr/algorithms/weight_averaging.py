"""Weight averaging (WA): gossip of whole models as they are, after local epochs.

Update: x_i <- sum_j W_ij x_j, then E local epochs. Sent: one state dict per neighbour and round. It is DIMAT with every
permutation the identity, and the paper's baseline of that name (CVPR 2024, section 5). With one local step per round it
is decentralized SGD with the gradient at the mixture; D-PSGD (Lian et al. 2017) takes it before mixing, as ``cdsgd``.
"""

from collections.abc import Mapping
from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.interface import About, Inbox, Peer, StateDict
from dimat_flwr.algorithms.merge_and_train import MergeAndTrain
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class WeightAveraging(MergeAndTrain):
    """Average the neighbours' weights as they are."""

    needs_mean: ClassVar[str] = ""
    keeps_privacy: ClassVar[bool] = True
    takes_newcomers: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="Weight averaging (WA)",
        description="average the neighbours' models without aligning them, then train",
        paper="DIMAT: Decentralized Iterative Merging-And-Training for Deep Learning Models, CVPR 2024 (baseline)",
        url="https://arxiv.org/abs/2404.08079",
        models_per_edge=1,
    )

    def merge(self, peer: Peer, inbox: Inbox, row: Row) -> StateDict:
        """Return sum_j W_ij x_j."""
        return average(peer, inbox, row)


def average(peer: Peer, inbox: Inbox, row: Row, own: Mapping[str, Tensor] | None = None) -> StateDict:
    """Return sum_j W_ij x_j, or another ``aggregation``, of the sources' models and the peer's own (``own``)."""
    sources = ((j, payload.tensors) for j, payload in inbox.items())
    return peer.aggregate(peer.tensors() if own is None else own, sources, row)
