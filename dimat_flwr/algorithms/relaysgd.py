"""RelaySGD (Vogels et al., NeurIPS 2021, https://arxiv.org/abs/2110.04175, Algorithm 1), on a tree.

Each edge carries the sum of all models on its far side, and their count, so that a peer averages everybody's models,
each as many rounds old as it is far away, for the bytes of plain gossip. Update at peer i:

    x_i' <- x_i - a g_i(x_i)                              (H local steps or epochs)
    m_ij <- x_i' + sum_k m_ki,   c_ij <- 1 + sum_k c_ki   to each neighbour j, over its other neighbours k
    x_i  <- (x_i' + sum_j m_ji) / (1 + sum_j c_ji)

where m_ki is what k sent a round ago. Sent: a sum of state dicts and its count, another to each neighbour; that is one
model per edge and round.

No honest sum has more than N - 1 models. What a neighbour's claims make larger is sent on scaled down to that.

A neighbour whose sum is late or was rejected counts with its last one; one that has failed counts no longer, nor does
anybody beyond it. Rounds without communication leave the sums as they are.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.interface import About, Algorithm, Inbox, Outbox, Peer
from dimat_flwr.algorithms.merge_record import recorded_merge
from dimat_flwr.algorithms.sgp import scaled
from dimat_flwr.component import STRICT
from dimat_flwr.merging import Mixture
from dimat_flwr.topology import Exchange, RoundView, Row, TopologyError
from dimat_flwr.wire.payload import Expected, Payload


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RelaySGD(Algorithm):
    """Train, pass on the sums of everybody's models along a tree, take their mean."""

    merges_old_models: ClassVar[bool] = True
    needs_the_same_graph: ClassVar[bool] = True
    needs_mean: ClassVar[str] = "its sums of models go on along the tree whole, with whatever a liar has put in"
    keeps_privacy: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="RelaySGD",
        description="pass on sums of models along a tree: every peer averages everybody's, some of them old",
        paper="RelaySum for Decentralized Deep Learning on Heterogeneous Data, NeurIPS 2021",
        url="https://arxiv.org/abs/2110.04175",
        models_per_edge=1,
    )

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        """Return one exchange along the tree; an error where the graph is none, or changes."""
        edges = set(view.mixing.edges)
        links = 2 * (view.peers - 1)
        if edges and (
            len(edges) != links or edges != set(view.graph.edges) or not all((b, a) in edges for a, b in edges)
        ):
            raise TopologyError(
                f"relay sums need a tree that stays the same, {view.peers - 1} links that go both ways between "
                f"{view.peers} peers; choose topology tree, chain or star, or edge_list with a tree"
            )
        return (Exchange("relay", view.mixing, "none"),)

    def publish(self, exchange: str, peer: Peer) -> Outbox:
        """Return to each neighbour the sum and count of all models on this side of the edge."""
        return {reader: _scaled_down(_total(peer, without=reader), peer.peers - 1) for reader in peer.readers}

    def expects(self, exchange: str, peer: Peer) -> Expected:
        """Return a state dict, and that it sums up at least one model and at most all others."""
        return Expected(peer.tensors(), {"count": (1.0, float(peer.peers - 1))})

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Take the mean of the own model and all sums, and train."""
        counts = peer.slot("counts")
        for j, payload in inbox.items():
            peer.slot(f"from {j}").update(payload.tensors)
            counts[str(j)] = torch.tensor(payload.numbers["count"], dtype=torch.float64)
        for j in (j for j, why in peer.absent.items() if why == "failed"):
            peer.slot(f"from {j}").clear()
            counts.pop(str(j), None)
        if inbox or peer.absent:
            total = _total(peer)
            everybody = total.numbers["count"]
            with recorded_merge(peer, inbox, [1 / everybody, *(float(counts[str(j)]) / everybody for j in inbox)]):
                peer.adopt(scaled(total.tensors, 1 / everybody))
        peer.evaluate("after_merge")
        if not peer.is_last:
            peer.train()
            peer.evaluate("after_training")


def _total(peer: Peer, without: int | None = None) -> Payload:
    """Return the sum of the peer's model and all that came from neighbours but one, and how many models it has."""
    mixture, count = Mixture(peer.tensors(), 1.0), 1.0
    for j, far in peer.slot("counts").items():
        if int(j) != without:
            mixture.add(peer.slot(f"from {j}"), 1.0)
            count += float(far)
    return Payload(mixture.result(), {"count": count})


def _scaled_down(total: Payload, most: float) -> Payload:
    """Return a sum of the same mean over at most so many models: readers would blame the peer for more."""
    count = total.numbers["count"]
    return total if count <= most else Payload(scaled(total.tensors, most / count), {"count": most})
