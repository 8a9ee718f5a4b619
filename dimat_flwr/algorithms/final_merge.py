"""One merge after the last round, over all peers' models or along the topology; no training follows.

``uniform`` is the single global merging of "On the Surprising Effectiveness of a Single Global Merging in Decentralized
Learning" (ICLR 2026), done by every peer for itself: x_i <- (1/N) sum_j x_j. ``gossip`` is x_i <- sum_j W_ij x_j.
``aligned`` is ``uniform`` after aligning every model to the peer's own units by activation matching on its own data.
"""

from dimat_flwr.algorithms.dimat import Matching, aligned_average
from dimat_flwr.algorithms.interface import Inbox, Outbox, Peer, Weights
from dimat_flwr.algorithms.weight_averaging import average
from dimat_flwr.topology import FinalMerge
from dimat_flwr.wire.payload import Payload


def final_merge(kind: FinalMerge, peer: Peer, inbox: Inbox, weights: Weights) -> Outbox:
    """Merge once, measure before and after, publish nothing."""
    peer.evaluate("before_merge")
    if inbox:
        if kind == "aligned":
            peer.adopt(aligned_average(peer, inbox, weights, Matching()))
        else:
            peer.adopt(average(peer, inbox, weights))
    peer.evaluate("after_merge")
    return Payload({})
