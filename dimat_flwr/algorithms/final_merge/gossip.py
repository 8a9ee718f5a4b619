"""One more gossip exchange along the topology: x_i <- sum_j W_ij x_j.

Where the run's own W sums to 1 by columns alone (push-sum), its graph is weighed uniformly instead: averages of models
need rows that sum to 1. Sent: one state dict per edge.
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.final_merge.base import FinalMerge
from dimat_flwr.algorithms.interface import About, Inbox, Peer, StateDict
from dimat_flwr.algorithms.weight_averaging import average
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Exchange, Mixing, RoundView, Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GossipFinalMerge(FinalMerge):
    """Average once with the neighbours."""

    needs_common_frame: ClassVar[bool] = True
    needs_mean: ClassVar[str] = ""
    keeps_privacy: ClassVar[bool] = True
    about: ClassVar[About] = About("Gossip", "one more averaging along the topology", "", "", models_per_edge=1)

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        """Return one exchange along the topology."""
        mixing = view.mixing if view.mixing.row_stochastic else Mixing.from_graph(view.graph, "uniform")
        return (Exchange("final_merge", mixing),)

    def merge(self, peer: Peer, inbox: Inbox, row: Row) -> StateDict:
        """Return sum_j W_ij x_j."""
        return average(peer, inbox, row)
