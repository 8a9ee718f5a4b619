"""Centralized training: the upper bound, and no federated learning at all.

Every peer trains a network of its own on the training samples of all peers together, as if they had been brought to one
place, and nothing is exchanged:

    x_i <- E epochs over all peers' samples (or H minibatches drawn from them), each round and before the first

So a run is N centralized trainings that differ in their random numbers (minibatches and, unless
``training.initialization: same``, first weights); the mean over the peers is a mean over seeds.
An epoch is one over all data: with ``training.local_epochs`` a peer here takes N times the steps of a peer elsewhere,
with ``training.local_steps`` as many. Only a simulation has all data; elsewhere the run is refused before it starts.
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic.dataclasses import dataclass

from dimat_flwr.algorithms.interface import About, Algorithm, Inbox, Peer
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Exchange, Mixing, RoundView, Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Centralized(Algorithm):
    """Every peer trains on everybody's data; the topology is not used."""

    needs_mean: ClassVar[str] = "nobody sends anything"
    about: ClassVar[About] = About(
        name="Centralized training",
        description="every peer trains on all peers' data, in a simulation only: the upper bound",
        paper="",
        url="",
        models_per_edge=0,
    )

    @property
    def pools_data(self) -> bool:
        """Return True."""
        return True

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        """Return one exchange without any edge, whatever the topology."""
        return (Exchange("alone", Mixing.identity(view.peers)),)

    def start(self, peer: Peer) -> None:
        """Train on everybody's data before the first exchange."""
        peer.pretrain(pooled=True)
        peer.evaluate("after_training")

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Train on everybody's data."""
        peer.evaluate("after_merge")
        if not peer.is_last:
            peer.train(pooled=True)
            peer.evaluate("after_training")
