"""DIMAT: Decentralized Iterative Merging-And-Training (CVPR 2024, https://arxiv.org/abs/2404.08079, Algorithm 1).

Update at peer i, every round that the schedule gives an exchange:

    x_i <- sum_j W_ij P_ij x_j,   P_ij by activation matching on i's data, P_ii = I
    x_i <- E local epochs from x_i (the paper: 2)

Sent: one state dict per neighbour and round. Matching (section 3.1): for each permutation group of the network, P_ij
maximizes the summed correlation of i's units with j's permuted units over i's samples, a linear assignment problem.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from dimat_flwr.algorithms.activation_matching import ActivationMatching
from dimat_flwr.algorithms.interface import About, Inbox, Outbox, Peer
from dimat_flwr.algorithms.merge_and_train import MergeAndTrain
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Row
from dimat_flwr.wire.payload import Payload


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Dimat(MergeAndTrain):
    """Align the neighbours' units to one's own by activation matching, average, then train.

    Attributes:
        matching: how units are matched.
    """

    matching: ActivationMatching = Field(default_factory=ActivationMatching)

    keeps_own_frames: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="DIMAT",
        description="align the neighbours' models by activation matching, average them, then train",
        paper="DIMAT: Decentralized Iterative Merging-And-Training for Deep Learning Models, CVPR 2024",
        url="https://arxiv.org/abs/2404.08079",
        models_per_edge=1,
    )

    @property
    def pools_data(self) -> bool:
        """Whether the matching looks at other peers' samples."""
        return self.matching.match_data == "pooled"

    def merge(self, peer: Peer, inbox: Inbox, row: Row) -> Mapping[str, Tensor]:
        """Return sum_j W_ij P_ij x_j."""
        return self.matching.aligned_average(peer, inbox, row)

    def publish(self, exchange: str, peer: Peer) -> Outbox:
        """Return the model with statistics that are true of it: the neighbours will run it to match their units."""
        return Payload(peer.state_dict(settled=True))

    def faults(self, model: nn.Module) -> Sequence[str]:
        """Return why the matching does not fit a network."""
        return self.matching.faults(model)
