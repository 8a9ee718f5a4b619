"""The interface between an algorithm and the peer that runs it.

An algorithm is one class. ``exchanges`` says (at the relay, which sees no data) which exchanges a round has and along
which graphs; ``start``, ``step``, ``publish`` and ``model`` say (at the peer) what is done before the first exchange,
what follows each one, what the next one carries, and which state dict counts as the peer's model. Everything else
(messages, checks of what arrives, devices, seeds, data, records) is behind the ``Peer`` protocol.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from dimat_flwr.events import Absence, PeerEvent, Stage
from dimat_flwr.learning import Batch, Correction, Evaluation
from dimat_flwr.symmetry import Permutation, PermutationSpec
from dimat_flwr.topology import Exchange, RoundView, Row, Sums
from dimat_flwr.wire.payload import Expected, Payload

StateDict = dict[str, Tensor]

# One payload for every reader, or one for each: reader's index -> payload.
Outbox = Payload | Mapping[int, Payload]
# Source's index -> the payload it published, in ascending order of index; its tensors are on the CPU.
Inbox = Mapping[int, Payload]


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
    def peers(self) -> int:
        """Number of peers N of the run."""

    @property
    def samples(self) -> int:
        """Number of the peer's own training samples."""

    @property
    def round(self) -> int:
        """The round of the exchange that is being worked on; 0 before the first one."""

    @property
    def is_last(self) -> bool:
        """Whether no exchange follows in which anybody merges: a run ends with a merge, nobody trains after it."""

    @property
    def readers(self) -> Sequence[int]:
        """Who will receive what is published for the next exchange, ascending."""

    @property
    def absent(self) -> Mapping[int, Absence]:
        """Sources of this exchange whose payload is missing, and why."""

    @property
    def lr(self) -> float:
        """The step size of this round, by optimizer and learning rate schedule."""

    @property
    def weight_decay(self) -> float:
        """The optimizer's L2 penalty, for algorithms that take gradients one at a time and step by themselves."""

    @property
    def model(self) -> nn.Module:
        """The peer's network on its device, for its structure; its tensors are in ``tensors``."""

    @property
    def spec(self) -> PermutationSpec:
        """The permutation symmetries of ``model``."""

    def slot(self, name: str) -> MutableMapping[str, Tensor]:
        """Return the algorithm's own named tensors of that name, kept at the peer, on the model's device."""

    def state_dict(self, *, settled: bool = False) -> StateDict:
        """Return a detached copy of the model's state dict on the model's device.

        Args:
            settled: with BatchNorm statistics that are true of this model (see ``adopt``), for readers who will run
                it; averaging does not need them.
        """

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the model's own tensors by their names in the state dict, not copies: to be read at once, or sent.

        It is the same mapping at every call, on the model's device.
        """

    def as_read(self, exchange: str) -> Mapping[str, Tensor]:
        """Return the peer's model as the readers of what it published last for ``exchange`` know it.

        A lossy codec leaves something out; without one this is the model itself. For algorithms that publish their
        model, the same to all readers, and have not changed it since.
        """

    def adopt(self, mixed: Mapping[str, Tensor]) -> None:
        """Make a mixed state dict the peer's model.

        Mixing leaves BatchNorm's running statistics wrong. They are marked stale and, with ``batchnorm.policy:
        recalibrate``, measured on the peer's own data whenever somebody looks: evaluation, matching, saving. Training
        does not use them, so that an exchange per minibatch costs no forward pass more.
        """

    def aggregate(
        self, own: Mapping[str, Tensor], neighbours: Iterable[tuple[int, Mapping[str, Tensor]]], row: Row
    ) -> StateDict:
        """Return what the run's ``aggregation`` makes of the models: sum_j W_ij x_j, or a rule that withstands liars.

        The ``Merge`` that is recorded then has the weights that the models came to.

        Args:
            own: the peer's own state dict, on the model's device.
            neighbours: (source, its state dict) for every source of ``row``, in their order, taken one at a time.
            row: the peer's row of W.
        """

    def train(self, correct: Correction | None = None, *, pooled: bool = False) -> None:
        """Train for this round's local epochs or steps with the configured optimizer, and record it.

        Args:
            correct: takes (parameters x, their gradients g), both by name, before each step and returns the gradients
                to use, on the model's device. It is given them after the run's ``correction``.
            pooled: on all peers' samples instead of the peer's own; only a simulation has them, and it is there for
                comparison alone.
        """

    def pretrain(self, *, pooled: bool = False) -> None:
        """Train for the configured epochs before the first exchange, and record it; ``pooled`` as for ``train``."""

    def next_batch(self) -> Batch:
        """Return the next minibatch (inputs, labels) of the peer's own data."""

    def gradient(self, at: Mapping[str, Tensor] | None, batch: Batch) -> StateDict:
        """Return the loss gradient of every parameter, in training mode, and record the loss.

        Args:
            at: the state dict to compute it at; None: the peer's own model, whose BatchNorm statistics then take note.
            batch: (inputs, labels), as from ``next_batch``.
        """

    def measure(self, at: Mapping[str, Tensor] | None = None) -> Evaluation:
        """Return how a state dict (None: the peer's own model, settled) does on the test set; nothing is recorded."""

    def evaluate(self, stage: Stage) -> None:
        """Measure and record the accuracy of what the algorithm calls its model (``Algorithm.model``), settled.

        Nothing is done in rounds where the configuration does not want it.
        """

    def permute(self, permutation: Permutation) -> None:
        """Reorder the peer's own units: model, optimizer moments and slots together; its outputs stay the same.

        Tensors of a slot that have the name and shape of one of the model's move along with it.
        """

    def matching_inputs(self, samples: int, batch_size: int, *, pooled: bool = False) -> Sequence[Tensor]:
        """Return batches of the peer's own training inputs without augmentation, for statistics of activations.

        Args:
            samples: how many; all of the peer's if it has fewer.
            batch_size: samples per batch.
            pooled: draw from all peers' samples instead, as the code of the DIMAT paper does; only a simulation has
                them, and it is there for comparison alone.
        """

    def generator(self, purpose: str) -> torch.Generator:
        """Return a CPU generator seeded by (seed, peer, round, purpose)."""

    def record(self, event: PeerEvent) -> None:
        """Add an event to the run's record.

        A ``Merge`` is recorded for every step that had an inbox and weights, with those of its row; an algorithm that
        mixes with others than ``aggregate`` records its own.
        """

    def aligned(self, source: int, order: Permutation) -> None:
        """Record that a source's units, or one's own to fit them, were put into an order: the share that moved."""


class Algorithm(ABC):
    """Base of all algorithms; a concrete one is a frozen, strict pydantic dataclass whose fields are its settings."""

    about: ClassVar[About]
    # Which sums of W must be 1: "columns" for push-sum, where a sender splits its mass and what is lost is lost.
    sums: ClassVar[Sums] = "rows"
    # False where the algorithm's equations are the optimizer: any other choice than plain SGD would be ignored.
    takes_any_optimizer: ClassVar[bool] = True
    # False where a round is one gradient of one minibatch: any other number of local steps would be ignored.
    takes_local_steps: ClassVar[bool] = True
    # True where models are merged that are some rounds old.
    merges_old_models: ClassVar[bool] = False
    # True where a peer may come during the run with a neighbour's model and nothing else: where every exchange in which
    # a newcomer can begin carries models, and nothing that all peers hold together (sums, trackers) is spoiled by one.
    takes_newcomers: ClassVar[bool] = False
    # True where peers keep what only holds on the graph as it was: then it is not drawn anew when one of them is lost.
    needs_the_same_graph: ClassVar[bool] = False

    @property
    def needs_mean(self) -> str:
        """Why no other ``aggregation`` than the mean goes with it; empty where ``peer.aggregate`` does all mixing.

        Then every exchange whose rows sum to 1 is checked to have the neighbours that the aggregation needs.
        """
        return "it does not say that peer.aggregate does all its mixing"

    @property
    def keeps_privacy(self) -> bool:
        """Whether the peer's own samples come in by ``peer.train`` and ``peer.pretrain`` alone, without ``pooled``.

        These two are all that ``privacy`` puts clipping and noise into; what looks at samples otherwise is refused.
        """
        return False

    @property
    def keeps_own_frames(self) -> bool:
        """Whether every peer keeps its units in an order of its own: averaging needs models to be aligned first."""
        return False

    @property
    def pools_data(self) -> bool:
        """Whether the settings ask for other peers' samples, which only a simulation has."""
        return False

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        """Return the exchanges of a round, in order; runs at the relay.

        Args:
            view: the round, its mixing matrix (the identity where the schedule keeps silent) and its graph.
        """
        return (Exchange("merge", view.mixing, self.sums),)

    def start(self, peer: Peer) -> None:
        """Do what comes before the first exchange."""
        peer.pretrain()
        peer.evaluate("after_training")

    def join(self, peer: Peer, inbox: Inbox) -> None:
        """Begin during the run (``takes_newcomers``), in the place of ``start``: take the first neighbour's model.

        So the peer has its frame, too, and BatchNorm's statistics whatever the policy, for it has none of its own.
        ``step`` follows, with the same inbox.

        Args:
            peer: the newcomer, with weights newly drawn.
            inbox: its sources' payloads, never empty.
        """
        taken = next(iter(inbox.values())).tensors
        peer.adopt({name: taken[name] for name in peer.tensors()})

    @abstractmethod
    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Do everything that follows an exchange; no training after the last one (``peer.is_last``).

        Args:
            exchange: name of the exchange whose payloads arrived.
            peer: the peer that does it.
            inbox: the sources' payloads that arrived and were accepted; empty in a round without communication.
            row: the peer's row of W over itself and ``inbox``.
        """

    def publish(self, exchange: str, peer: Peer) -> Outbox:
        """Return what the coming exchange carries; by default the peer's model.

        Args:
            exchange: name of the exchange that comes next.
            peer: the peer that publishes, to ``peer.readers``.
        """
        return Payload(peer.tensors())

    def model(self, peer: Peer) -> Mapping[str, Tensor]:
        """Return what counts as this peer's model: it is evaluated, saved, and goes into the final merge.

        An algorithm that keeps something else in the model's place (a biased x, a sum) returns here what it stands
        for; by default it is ``peer.tensors()`` itself.
        """
        return peer.tensors()

    def expects(self, exchange: str, peer: Peer) -> Expected:
        """Return what a source's payload in ``exchange`` must look like; by default a state dict and no numbers.

        Payloads that differ, or hold NaN, are rejected before ``step``.
        """
        return Expected(peer.tensors())

    def faults(self, model: nn.Module) -> Sequence[str]:
        """Return why the settings do not fit a network, found before anything is trained; by default nothing.

        Args:
            model: the run's network.
        """
        return ()
