"""DIMAT: Decentralized Iterative Merging-And-Training (CVPR 2024, https://arxiv.org/abs/2404.08079, Algorithm 1).

Update at peer i, every round that the schedule gives an exchange:

    x_i <- sum_j W_ij P_ij x_j,   P_ij by activation matching on i's data, P_ii = I
    x_i <- E local epochs from x_i (the paper: 2)

Sent: one state dict per neighbour and round. Matching (section 3.1): for each permutation group of the network, P_ij
maximizes the summed correlation of i's units with j's permuted units over i's samples, a linear assignment problem.
"""

from typing import ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.interface import About, Inbox, Peer, StateDict, Weights
from dimat_flwr.algorithms.merge_and_train import MergeAndTrain
from dimat_flwr.component import STRICT
from dimat_flwr.merging import Mixture, match_neighbours, share_moved


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Matching:
    """How neighbours' units are matched with a peer's own.

    Attributes:
        samples: images to match on (all of the peer's if it has fewer).
        batch_size: images per forward pass.
        statistic: ``correlation`` (the paper's code) or ``covariance`` of activations.
        taps: match on the sum over all places where a group's units are visible, or on the ``last`` one.
        stickiness: keep a group's order unless the best one gains more than this share of its score.
        match_data: ``local``: the peer's own images; ``pooled``: all peers' images, as the paper's code does. Only a
            simulation has those, and it is there for comparison: it breaks the rule that data stay with their peer.
    """

    samples: int = Field(default=500, ge=2)
    batch_size: int = Field(default=250, ge=2)
    statistic: Literal["correlation", "covariance"] = "correlation"
    taps: Literal["all", "last"] = "all"
    stickiness: float = Field(default=0.0, ge=0)
    match_data: Literal["local", "pooled"] = "local"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Dimat(MergeAndTrain):
    """Align the neighbours' units to one's own by activation matching, average, then train.

    Attributes:
        matching: how units are matched.
    """

    matching: Matching = Field(default_factory=Matching)

    about: ClassVar[About] = About(
        name="DIMAT",
        description="align the neighbours' models by activation matching, average them, then train",
        paper="DIMAT: Decentralized Iterative Merging-And-Training for Deep Learning Models, CVPR 2024",
        url="https://arxiv.org/abs/2404.08079",
        models_per_edge=1,
    )

    @property
    def pools_data(self) -> bool:
        """Whether the matching looks at other peers' images."""
        return self.matching.match_data == "pooled"

    def merge(self, peer: Peer, inbox: Inbox, weights: Weights) -> StateDict:
        """Return sum_j W_ij P_ij x_j."""
        return aligned_average(peer, inbox, weights, self.matching)


def aligned_average(peer: Peer, inbox: Inbox, weights: Weights, matching: Matching) -> StateDict:
    """Return sum_j W_ij P_ij x_j, with P_ij by activation matching and P_ii = I, and record what moved."""
    x_i = peer.weights()
    batches = peer.matching_batches(matching.samples, matching.batch_size, pooled=matching.match_data == "pooled")
    P_i = match_neighbours(
        peer.model,
        x_i,
        [payload.tensors for payload in inbox.values()],
        peer.spec,
        batches,
        statistic=matching.statistic,
        taps=matching.taps,
        stickiness=matching.stickiness,
    )
    mixture = Mixture(x_i, weights.own)
    for (j, payload), P_ij in zip(inbox.items(), P_i, strict=True):
        mixture.add(peer.spec.apply(payload.tensors, P_ij), weights.neighbours[j])
        peer.record("aligned", **{"from": j}, units_moved=round(share_moved(P_ij), 4))
    return mixture.result()
