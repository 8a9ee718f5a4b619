"""The shape that DIMAT and its nearest baselines share: merge with the neighbours, then train on one's own data."""

import time
from abc import abstractmethod

from dimat_flwr.algorithms.interface import Algorithm, Inbox, Outbox, Peer, StateDict, Weights
from dimat_flwr.wire.payload import Payload


class MergeAndTrain(Algorithm):
    """One exchange a round: models out; then merge, evaluate, train, evaluate."""

    @abstractmethod
    def merge(self, peer: Peer, inbox: Inbox, weights: Weights) -> StateDict:
        """Return the state dict mixed from the peer's own and its neighbours' models.

        Args:
            peer: whose turn it is.
            inbox: j -> neighbour j's state dict; never empty.
            weights: the peer's row of W, which sums to 1.
        """

    def step(self, phase: str, peer: Peer, inbox: Inbox, weights: Weights) -> Outbox:
        """Merge what arrived, if anything did, and train for the round's local epochs or steps."""
        peer.evaluate("before_merge")
        if inbox:
            began = time.perf_counter()
            peer.adopt(self.merge(peer, inbox, weights))
            peer.record(
                "merge",
                neighbours=list(inbox),
                weights=[weights.own, *(weights.neighbours[j] for j in inbox)],
                seconds=round(time.perf_counter() - began, 3),
            )
        peer.evaluate("after_merge")
        peer.train()
        peer.evaluate("after_training")
        return Payload(peer.weights())
