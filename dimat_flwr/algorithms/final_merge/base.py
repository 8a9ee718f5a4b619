"""What every final merge is: an algorithm with at most one exchange, over what the run's algorithm calls its model."""

from collections.abc import Sequence
from typing import ClassVar

from dimat_flwr.algorithms.interface import Peer
from dimat_flwr.algorithms.merge_and_train import MergeAndTrain
from dimat_flwr.topology import Exchange, Mixing, RoundView


class FinalMerge(MergeAndTrain):
    """One more exchange after the last round, with the interface of every algorithm.

    It starts from ``Algorithm.model`` of the run's algorithm (push-sum: z, not x), which each peer adopts and sends,
    so that it is right whatever that algorithm exchanges. A final merge is the run's last exchange: nobody trains
    after it.
    """

    # Whether it averages units as they stand, which is wrong where the algorithm ``keeps_own_frames``.
    needs_common_frame: ClassVar[bool] = False

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        """Return one exchange of everybody with everybody, 1/N each; ``view.round`` is the one after the last."""
        return (Exchange("final_merge", Mixing.complete(view.peers)),)

    def start(self, peer: Peer) -> None:
        """Do nothing: the run's algorithm has prepared the peer."""
