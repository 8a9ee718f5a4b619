"""No communication: the lower bound that every exchange must beat.

Update: x_i <- E local epochs from x_i. Nothing is sent.
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.interface import About, Inbox, Peer, Phase, StateDict, Weights
from dimat_flwr.algorithms.merge_and_train import MergeAndTrain
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Mixing


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LocalOnly(MergeAndTrain):
    """Every peer trains alone; the topology is not used."""

    about: ClassVar[About] = About(
        name="Local training",
        description="no communication at all: the lower bound",
        paper="",
        url="",
        models_per_edge=0,
    )

    def phases(self, round_number: int, mixing: Mixing) -> Sequence[Phase]:
        """Return one phase without any edge, whatever the topology."""
        return (Phase("train", Mixing.identity(mixing.peers)),)

    def merge(self, peer: Peer, inbox: Inbox, weights: Weights) -> StateDict:
        """Return the peer's own model: nobody sends anything."""
        return peer.weights()
