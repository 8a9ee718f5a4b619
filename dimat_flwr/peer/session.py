"""One peer during one exchange: the ``algorithms.interface.Peer`` that an algorithm sees, on learner and state."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dimat_flwr.algorithms.interface import Algorithm, StateDict
from dimat_flwr.config import Config
from dimat_flwr.events import Absence, Aligned, Final, Note, PeerEvent, Stage, UnitsMoved, clip
from dimat_flwr.events import Evaluation as EvaluationEvent
from dimat_flwr.learning import Batch, Correction, Evaluation, PrivacyError, local_accuracy
from dimat_flwr.merging import share_moved, shares_moved
from dimat_flwr.peer import caches
from dimat_flwr.peer.corrected import train_corrected
from dimat_flwr.peer.errors import PeerSetupError
from dimat_flwr.peer.learner import Learner
from dimat_flwr.peer.saved_model import save_model
from dimat_flwr.peer.setup import POOLED
from dimat_flwr.peer.state import PeerState
from dimat_flwr.seeding import derive_seed
from dimat_flwr.symmetry import Permutation, PermutationSpec
from dimat_flwr.topology import Row
from dimat_flwr.wire.codecs.base import Passage
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.payload import Payload


class Session:
    """Implements ``algorithms.interface.Peer`` for one message.

    Attributes:
        events: what happened so far, in order.
        aggregated: what the models of this exchange came to weigh; None before they are aggregated.
        absent: sources whose payload is missing, also those that were found unusable here.
        evaluated: whether an accuracy was recorded in this exchange.
        seconds_apart: what was spent on training and measuring, which is no merging.
    """

    def __init__(self, config: Config, instruction: Instruction, state: PeerState, algorithm: Algorithm) -> None:
        """Bring a peer back to life as its state left it.

        Args:
            config: the run's configuration.
            instruction: what is asked of the peer.
            state: what it kept; it is changed in place.
            algorithm: who works on this exchange, and says what counts as the peer's model.
        """
        if config.training.threads:
            torch.set_num_threads(config.training.threads)
        self._config, self._instruction, self._state = config, instruction, state
        self._algorithm = algorithm
        self.events: list[PeerEvent] = []
        self.absent: dict[int, Absence] = dict(instruction.absent)
        self.aggregated: Row | None = None
        self.evaluated = False
        self.seconds_apart = 0.0
        self._moved: list[dict[str, float]] = []  # by alignment: group -> share
        self._learner = Learner(
            config,
            state,
            peer=instruction.peer,
            peers=instruction.peers,
            round=instruction.round,
            rounds=max(1, instruction.rounds),
            simulation=instruction.simulation,
            joins=instruction.joins,
        )

    @property
    def index(self) -> int:
        """See ``Peer``, as for everything below."""
        return self._instruction.peer

    @property
    def peers(self) -> int:
        """Number of peers."""
        return self._instruction.peers

    @property
    def samples(self) -> int:
        """Number of own training samples."""
        return len(self._learner.data)

    @property
    def round(self) -> int:
        """The round."""
        return self._instruction.round

    @property
    def is_last(self) -> bool:
        """Whether no exchange follows."""
        return self._instruction.is_last

    @property
    def readers(self) -> Sequence[int]:
        """Who reads what is published next."""
        return () if self._instruction.next is None else self._instruction.next.readers

    @property
    def lr(self) -> float:
        """The round's step size."""
        return self._learner.lr

    @property
    def weight_decay(self) -> float:
        """The optimizer's L2 penalty."""
        return self._config.optimizer.weight_decay

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self._learner.model

    @property
    def spec(self) -> PermutationSpec:
        """The network's symmetries."""
        return caches.permutation_spec(self._config)

    def slot(self, name: str) -> MutableMapping[str, Tensor]:
        """Return the algorithm's own tensors of a name."""
        slot = self._state.slots.setdefault(name, {})
        slot.update({key: tensor.to(self._learner.device) for key, tensor in slot.items()})
        return slot

    def state_dict(self, *, settled: bool = False) -> StateDict:
        """Return a copy of the model's state dict."""
        return self._learner.state_dict(settled=settled)

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the model's own tensors."""
        return self._learner.tensors()

    def passage(self, round: int, exchange: str, source: int, reader: int | None) -> Passage:
        """Return what writer and readers of a payload both know of it."""
        return Passage(self._instruction.run, round, exchange, source, reader, self._config.seeds.order)

    def as_read(self, exchange: str) -> Mapping[str, Tensor]:
        """Return the model as its readers know it."""
        passage = self.passage(self.round, exchange, self.index, None)
        known = self._config.codec.as_read(Payload(self.tensors()), passage, self._state.codec)
        return {name: tensor.to(self._learner.device) for name, tensor in known.items()}

    def adopt(self, mixed: Mapping[str, Tensor]) -> None:
        """Make a mixed state dict the model."""
        self._learner.adopt(mixed)

    def aggregate(
        self, own: Mapping[str, Tensor], neighbours: Iterable[tuple[int, Mapping[str, Tensor]]], row: Row
    ) -> StateDict:
        """Return what the run's aggregation makes of the models."""
        found = self._config.aggregation.aggregate(own, row, neighbours, self._learner.unmixed, self._own_loss)
        self.aggregated = found.row
        if found.kept:
            self.record(Note(name="aggregation", values={"kept_own_model": clip(found.kept, 200)}))
        return found.state

    def train(self, correct: Correction | None = None, *, pooled: bool = False) -> None:
        """Train for the round's epochs or steps."""
        self._allow(pooled)
        with self._apart():
            train_corrected(self._learner, self._config.correction, self._correction_slot, correct, pooled=pooled)
        self._tell_training()

    def pretrain(self, *, pooled: bool = False) -> None:
        """Train before the first exchange."""
        self._allow(pooled)
        with self._apart():
            self._learner.pretrain(pooled=pooled)
        self._tell_training()

    def next_batch(self) -> Batch:
        """Return the next minibatch."""
        self._keep_private("a minibatch")
        return self._learner.next_batch()

    def gradient(self, at: Mapping[str, Tensor] | None, batch: Batch) -> StateDict:
        """Return the gradient at a state dict, or at the model."""
        self._keep_private("a gradient")
        with self._apart():
            return self._learner.gradient(at, batch)

    def measure(self, at: Mapping[str, Tensor] | None = None) -> Evaluation:
        """Return how a state dict, or the model, does on the test set."""
        with self._apart():
            return self._learner.measure(at)

    def evaluate(self, stage: Stage) -> None:
        """Measure and record, in the rounds where the configuration wants it."""
        if stage == "after_merge" and self._is_observed_now() and self._config.instruments.gathers:
            merged = {f"merged/{name}": own for name, own in self.counted().items() if own.is_floating_point()}
            self._state.observed |= {key: tensor.detach().to("cpu", copy=True) for key, tensor in merged.items()}
        if not self._is_measured_now():
            return
        self.evaluated = True
        with self._counted():
            accuracy, local, loss = self._figures()
        self.record(EvaluationEvent(stage=stage, accuracy=accuracy, local_accuracy=local, loss=loss))

    def permute(self, permutation: Permutation) -> None:
        """Reorder the own units."""
        self._learner.permute(permutation, self.spec)

    def matching_inputs(self, samples: int, batch_size: int, *, pooled: bool = False) -> Sequence[Tensor]:
        """Return batches of training inputs without augmentation."""
        self._allow(pooled)
        self._keep_private("inputs to match on")
        return self._learner.matching_inputs(samples, batch_size, self.generator("matching"), pooled=pooled)

    def generator(self, purpose: str) -> torch.Generator:
        """Return a generator of (seed, peer, round, purpose)."""
        return torch.Generator().manual_seed(derive_seed(self._config.seeds.order, self.index, self.round, purpose))

    def record(self, event: PeerEvent) -> None:
        """Add an event to the record."""
        self.events.append(event)

    def aligned(self, source: int, order: Permutation) -> None:
        """Record which share of units an alignment moved."""
        self.record(Aligned(source=source, units_moved=round(share_moved(order), 4)))
        if self._config.instruments.alignment and self._is_observed_now():
            self._moved.append(shares_moved(order))

    def counted(self) -> Mapping[str, Tensor]:
        """Return what counts as the peer's model, by who works on this exchange; not a copy."""
        return self._algorithm.model(self)

    def figures_of(self, model: Mapping[str, Tensor]) -> tuple[float, float | None, float]:
        """Return accuracy, local accuracy and loss of other tensors in the model's place, settled; all stays."""
        with self._learner.standing_in({**self.tensors(), **model}):
            return self._figures()

    def full_gradient(self, at: Mapping[str, Tensor]) -> StateDict:
        """Return the gradient of the mean loss over the peer's own samples at other tensors; see ``Learner``."""
        self._keep_private("the gradient of all samples")
        return self._learner.full_gradient(at)

    def hand_over(self) -> None:
        """Make what the algorithm calls its model the peer's model: from now on another one works with it."""
        model = self.counted()
        if model is not self._learner.tensors():
            self.adopt(model)

    def keep_model(self) -> None:
        """Save what counts as the model now, settled, on this machine."""
        with self._counted():
            self._save()

    def finish(self) -> None:
        """Save what the peer ends with and record its accuracy, measured on exactly those tensors."""
        with self._counted():
            final = self._save()
            accuracy, local, loss = self._figures()
        self.record(final(accuracy=accuracy, local_accuracy=local, loss=loss))

    def close(self) -> PeerState:
        """Return what is to be kept until the next message, after telling what was trained."""
        self._tell_training()
        if self._moved:
            means = {group: sum(one[group] for one in self._moved) / len(self._moved) for group in self._moved[0]}
            self.record(UnitsMoved.of({group: round(share, 4) for group, share in means.items()}))
        self._learner.close()
        return self._state

    def _save(self) -> Callable[..., Final]:
        """Write the model file; a disk that does not take it costs the file and not the peer its place in the run."""
        try:
            return save_model(self._config, self._instruction, self.state_dict(settled=True))
        except OSError as error:
            text = f"the model of round {self.round} could not be saved: {error.strerror}"
            self.record(Note("warning", {"text": text}))
            return Final

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Let the model be what the algorithm calls so, for as long as somebody looks at it."""
        with self._apart():
            model = self.counted()
            if model is self._learner.tensors():
                yield
            else:
                with self._learner.standing_in(model):
                    yield

    @contextmanager
    def _apart(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds_apart += time.perf_counter() - began

    def _is_measured_now(self) -> bool:
        """Whether the configuration wants this round measured: round 0, every n-th, the last and a final merge."""
        return self.round % self._config.evaluate.every == 0 or self.round >= self._instruction.rounds

    def _is_observed_now(self) -> bool:
        return self._config.instruments.observes(self.round, self._instruction.rounds)

    def _figures(self) -> tuple[float, float | None, float]:
        """Return accuracy and local accuracy in percent, and loss, of the model as it is, settled."""
        found = self._learner.measure()
        if self._learner.is_private:  # the peer's own classes are what its samples say
            return found.accuracy, None, found.loss
        local = local_accuracy(found, self._learner.data.label_counts(self._config.dataset.num_classes))
        return found.accuracy, local, found.loss

    def _allow(self, pooled: bool) -> None:
        if pooled and not self._instruction.simulation:
            raise PeerSetupError(POOLED)
        if pooled:
            self._keep_private("training on all peers' samples")

    def _keep_private(self, what: str) -> None:
        """Refuse what looks at samples without clipping and noise, whatever an algorithm says of itself."""
        if self._learner.is_private:
            raise PrivacyError(f"with privacy there is no {what}: own samples come in by train and pretrain alone")

    def _own_loss(self, state: Mapping[str, Tensor], samples: int) -> float:
        """Return the loss on some of the peer's own samples, the same ones for all models of a round."""
        self._keep_private("loss on own samples")
        return self._learner.own_loss(state, samples, self.generator("aggregation"))

    def _correction_slot(self, name: str) -> MutableMapping[str, Tensor]:
        return self.slot(f"correction/{name}")

    def _tell_training(self) -> None:
        trained = self._learner.trained()
        if trained is not None:
            self.record(trained)
            if self._learner.is_private:
                self.record(self._learner.privacy())
