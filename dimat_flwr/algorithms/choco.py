"""CHOCO-SGD: averaging of compressed models that reaches consensus (Koloskova et al., ICML 2019, Algorithm 2).

Peers average what they know of each other, not what they are. With x^_j what the readers of j have put together from
its compressed messages q_j, kept alike by j and its readers, the update at peer i is, each round:

    x_i  <- H local steps or epochs from x_i
    q_i   = C(x_i - x^_i) to the neighbours;  x^_j <- x^_j + q_j for i itself and every source j
    x_i  <- x_i + gamma sum_j W_ij (x^_j - x^_i)

Since the x^ of all cancel in the mean, compression moves no mass: the mean of all peers is what it would be without it,
where W is symmetric. C is the run's codec: ``top_k``, ``random_k`` and ``int8`` keep the x^ and send differences to it;
with ``float32`` and gamma = 1 this is weight averaging (https://arxiv.org/abs/1902.00340).

Sent: one compressed state dict per edge and round.
"""

from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.interface import About, Inbox, Peer, StateDict
from dimat_flwr.algorithms.merge_and_train import MergeAndTrain
from dimat_flwr.algorithms.merge_record import recorded_merge
from dimat_flwr.component import STRICT
from dimat_flwr.merging import Mixture
from dimat_flwr.topology import Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Choco(MergeAndTrain):
    """Move towards what the neighbours are known to be, away from what oneself is known to be, then train.

    Attributes:
        gamma: the consensus step size, 0 < gamma <= 1. Too large a one diverges: on a ring of 5, 0.03 is safe with 1 %
            of the entries (0.08 is not), 0.1 with 5 %; with ``int8`` or ``float32`` take 1.
    """

    gamma: float = Field(default=0.03, gt=0, le=1)

    needs_mean: ClassVar[str] = "what peers know of each other must cancel in the mean, which no other rule lets it"
    keeps_privacy: ClassVar[bool] = True
    about: ClassVar[About] = About(
        name="CHOCO-SGD",
        description="average what the neighbours know of each other from compressed messages, then train",
        paper="Decentralized Stochastic Optimization and Gossip Algorithms with Compressed Communication, ICML 2019",
        url="https://arxiv.org/abs/1902.00340",
        models_per_edge=1,
    )

    def merge(self, peer: Peer, inbox: Inbox, row: Row) -> StateDict:
        """Return x_i + gamma sum_j W_ij (x^_j - x^_i)."""
        steps = {j: self.gamma * row.sources[j] for j in inbox}
        taken = sum(steps.values())
        with recorded_merge(peer, inbox, [1 - taken, *steps.values()]):
            known = Mixture(peer.tensors(), 1.0)
            known.add(peer.as_read("merge"), -taken)
            for j, payload in inbox.items():
                known.add(payload.tensors, steps[j])
            return known.result()
