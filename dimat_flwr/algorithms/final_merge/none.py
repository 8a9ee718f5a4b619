"""No final merge: a run ends with its last round."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.final_merge.base import FinalMerge
from dimat_flwr.algorithms.interface import About, Inbox, Peer, StateDict
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Exchange, RoundView, Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NoFinalMerge(FinalMerge):
    """Every peer keeps the model it has after the last round."""

    needs_mean: ClassVar[str] = ""
    keeps_privacy: ClassVar[bool] = True
    about: ClassVar[About] = About("None", "the run ends with its last round", "", "", models_per_edge=0)

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        """Return no exchange."""
        return ()

    def merge(self, peer: Peer, inbox: Inbox, row: Row) -> StateDict:
        """Return the peer's own model."""
        return peer.state_dict()
