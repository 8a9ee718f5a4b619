"""The shape that DIMAT and its nearest baselines share: merge with the neighbours, then train on one's own data."""

from abc import abstractmethod
from collections.abc import Callable, Mapping

from torch import Tensor

from dimat_flwr.algorithms.interface import Algorithm, Inbox, Peer
from dimat_flwr.topology import Row

MergeFunction = Callable[[Peer, Inbox, Row], Mapping[str, Tensor]]


class MergeAndTrain(Algorithm):
    """One exchange a round: models out; then merge, evaluate, train, evaluate. The last round ends with its merge."""

    @abstractmethod
    def merge(self, peer: Peer, inbox: Inbox, row: Row) -> Mapping[str, Tensor]:
        """Return the state dict mixed from the peer's own and its neighbours' models.

        Args:
            peer: whose turn it is.
            inbox: j -> source j's payload, whose tensors are its state dict; never empty.
            row: the peer's row of W, which sums to 1.
        """

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Merge what arrived, if anything did, and train for the round's local epochs or steps."""
        adopt_merged(self.merge, peer, inbox, row)
        if not peer.is_last:
            peer.train()
            peer.evaluate("after_training")


def adopt_merged(merge: MergeFunction, peer: Peer, inbox: Inbox, row: Row) -> None:
    """Let the peer adopt what ``merge`` makes of a non-empty inbox, and record how good it is."""
    if inbox:
        peer.adopt(merge(peer, inbox, row))
    peer.evaluate("after_merge")
