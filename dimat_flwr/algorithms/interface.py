"""The interface between an algorithm and the peer that runs it.

An algorithm is one class: ``phases`` says (at the relay) which exchanges a round has and along which graph, ``start``
and ``step`` say (at the peer) what is done before the first exchange and after each one. Everything else (messages,
validation of what arrives, devices, seeds, data, records) is behind the ``Peer`` protocol.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from dimat_flwr.symmetry import PermutationSpec
from dimat_flwr.topology import Mixing
from dimat_flwr.topology.mixing import Sums
from dimat_flwr.wire.payload import Payload

StateDict = dict[str, Tensor]
Stage = Literal["before_merge", "after_merge", "after_training"]

# One payload for every reader, or one for each: reader's index -> payload.
Outbox = Payload | Mapping[int, Payload]
# Neighbour's index -> the payload it sent, in ascending order of index.
Inbox = Mapping[int, Payload]


@dataclass(frozen=True)
class Weights:
    """This peer's row of the mixing matrix, restricted to those who answered.

    Attributes:
        own: W_ii, the weight of the peer's own model.
        neighbours: j -> W_ij for every j in the inbox. With a row-stochastic W all weights sum to 1.
    """

    own: float
    neighbours: Mapping[int, float]


@dataclass(frozen=True)
class Phase:
    """One exchange within a round.

    Attributes:
        name: what ``step`` is told; unique within the round.
        mixing: graph and weights of this exchange; i receives the payload that j published in the step before
            for every edge j -> i.
    """

    name: str
    mixing: Mixing


@dataclass(frozen=True)
class About:
    """What the list of algorithms shows.

    Attributes:
        name: the algorithm's name as the field writes it.
        description: one line.
        paper: title, venue and year of the source, empty for a bound such as local training.
        url: where to read it.
        models_per_edge: how many models' worth of tensors cross a directed edge in a round.
    """

    name: str
    description: str
    paper: str
    url: str
    models_per_edge: float


class Peer(Protocol):
    """What an algorithm may use: one peer with its own data, model and state, and nothing of anybody else's."""

    @property
    def index(self) -> int:
        """The peer's place in the topology, 0-based."""

    @property
    def round_number(self) -> int:
        """The round this step belongs to; 0 before the first exchange."""

    @property
    def readers(self) -> Sequence[int]:
        """Who will receive what this step publishes, ascending."""

    @property
    def model(self) -> nn.Module:
        """The peer's network on its device; training changes it in place."""

    @property
    def tensors(self) -> MutableMapping[str, Tensor]:
        """The algorithm's own tensors, which stay at the peer from step to step (momentum, last sums received)."""

    @property
    def numbers(self) -> MutableMapping[str, float]:
        """The algorithm's own numbers, which stay at the peer from step to step (a push-sum weight)."""

    @property
    def spec(self) -> PermutationSpec:
        """The permutation symmetries of ``model``, found by tracing it."""

    def weights(self) -> StateDict:
        """Return a detached copy of the model's state dict on the model's device."""

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Load a whole state dict into the model as it is."""

    def train(self) -> None:
        """Train for this round's local epochs or steps with the configured optimizer, and record it."""

    def pretrain(self) -> None:
        """Train for the configured epochs before the first exchange, and record it."""

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return the next minibatch (images (B, C, H, W) normalized, labels (B,)) of the peer's own data."""

    def gradient(self, weights: Mapping[str, Tensor] | None, batch: tuple[Tensor, Tensor]) -> StateDict:
        """Return the loss gradient of every parameter at ``weights`` (the model's own if None); the model is kept."""

    def matching_batches(self, samples: int, batch_size: int, *, pooled: bool = False) -> Sequence[Tensor]:
        """Return batches of the peer's own normalized training images without augmentation, for statistics.

        ``pooled`` draws from all peers' images instead, as the code of the DIMAT paper does; only a simulation has
        them, and it is there for comparison alone.
        """

    def adopt(self, mixed: Mapping[str, Tensor]) -> None:
        """Load a mixed state dict and apply the configured policy for its BatchNorm statistics."""

    def evaluate(self, stage: Stage) -> None:
        """Measure and record accuracy, in the rounds where the configuration wants it."""

    def record(self, event: str, **values: Any) -> None:
        """Add a line to the run's ``metrics.jsonl``; values are numbers, texts or lists of them."""

    def generator(self, purpose: str) -> torch.Generator:
        """Return a CPU generator seeded by (seed, peer, round, purpose)."""


class Algorithm(ABC):
    """Base of all algorithms; a concrete one is a frozen, strict pydantic dataclass whose fields are its settings."""

    about: ClassVar[About]
    # "columns" for push-sum: a sender splits its mass, and a lost payload must not be made up for by the others.
    sums: ClassVar[Sums] = "rows"

    @property
    def pools_data(self) -> bool:
        """Whether the settings ask for other peers' images, which only a simulation has."""
        return False

    def phases(self, round_number: int, mixing: Mixing) -> Sequence[Phase]:
        """Return the exchanges of a round, in order. Runs at the relay and sees no data.

        Args:
            round_number: the round, from 1.
            mixing: the round's graph and weights; without any edge in a round the schedule keeps silent.
        """
        return (Phase("merge", mixing),)

    def start(self, peer: Peer) -> Outbox:
        """Do what comes before the first exchange (round 0) and return what it publishes."""
        peer.pretrain()
        peer.evaluate("after_training")
        return Payload(peer.weights())

    @abstractmethod
    def step(self, phase: str, peer: Peer, inbox: Inbox, weights: Weights) -> Outbox:
        """Do everything that follows an exchange and return what the next exchange publishes.

        Args:
            phase: name of the phase whose payloads arrived.
            peer: the peer that does it.
            inbox: the neighbours' payloads that arrived and were accepted; empty in a round without exchange.
            weights: the peer's row of W for this phase.
        """

    def expects(self, phase: str, peer: Peer) -> Mapping[str, Tensor]:
        """Return what a neighbour's payload in ``phase`` must look like: names, shapes and types of its tensors.

        Payloads that differ, or hold NaN, are rejected before ``step``. By default a payload is a state dict.
        """
        return peer.model.state_dict()
