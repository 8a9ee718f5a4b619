"""Single global merging after alignment: x_i <- (1/N) sum_j P_ij x_j, P_ij by activation matching on i's data.

Sent: one state dict per pair of peers, N (N - 1) in all.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from dimat_flwr.algorithms.activation_matching import ActivationMatching
from dimat_flwr.algorithms.final_merge.base import FinalMerge
from dimat_flwr.algorithms.interface import About, Inbox, Outbox, Peer
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Row
from dimat_flwr.wire.payload import Payload


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AlignedFinalMerge(FinalMerge):
    """Average all peers' models after aligning them to one's own units.

    Attributes:
        matching: how units are matched.
    """

    matching: ActivationMatching = Field(default_factory=ActivationMatching)

    about: ClassVar[About] = About(
        name="Aligned global merging",
        description="every peer averages all models once, aligned to its own units, after the last round",
        paper="DIMAT (CVPR 2024) applied as in Single Global Merging (ICLR 2026)",
        url="https://arxiv.org/abs/2404.08079",
        models_per_edge=1,
    )

    @property
    def pools_data(self) -> bool:
        """Whether the matching looks at other peers' samples."""
        return self.matching.match_data == "pooled"

    def merge(self, peer: Peer, inbox: Inbox, row: Row) -> Mapping[str, Tensor]:
        """Return (1/N) sum_j P_ij x_j."""
        return self.matching.aligned_average(peer, inbox, row)

    def publish(self, exchange: str, peer: Peer) -> Outbox:
        """Return the model with statistics that are true of it: the others will run it to match their units."""
        return Payload(peer.state_dict(settled=True))

    def faults(self, model: nn.Module) -> Sequence[str]:
        """Return why the matching does not fit a network."""
        return self.matching.faults(model)
