"""No communication: the lower bound that every exchange must beat.

Update: x_i <- E local epochs from x_i. Nothing is sent.
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.interface import About, Inbox, Peer, StateDict
from dimat_flwr.algorithms.merge_and_train import MergeAndTrain
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Exchange, Mixing, RoundView, Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LocalOnly(MergeAndTrain):
    """Every peer trains alone; the topology is not used."""

    needs_mean: ClassVar[str] = "nobody sends anything"
    keeps_privacy: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="Local training",
        description="no communication at all: the lower bound",
        paper="",
        url="",
        models_per_edge=0,
    )

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        """Return one exchange without any edge, whatever the topology."""
        return (Exchange("merge", Mixing.identity(view.peers)),)

    def merge(self, peer: Peer, inbox: Inbox, row: Row) -> StateDict:
        """Return the peer's own model: nobody sends anything."""
        return peer.state_dict()
