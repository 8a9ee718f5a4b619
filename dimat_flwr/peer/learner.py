"""A peer's model with what it takes to train and measure it: data, optimizer, gradients, BatchNorm, evaluation."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dimat_flwr.algorithms.interface import StateDict
from dimat_flwr.config import Config
from dimat_flwr.events import Privacy, Training
from dimat_flwr.learning import (
    Batch,
    Correction,
    Evaluation,
    PeerData,
    evaluate,
    full_gradient,
    gradient,
    resolve_device,
)
from dimat_flwr.merging import MergeError, recalibrate_batchnorm
from dimat_flwr.peer import caches
from dimat_flwr.peer.account import told_of
from dimat_flwr.peer.initial_state import initial_state
from dimat_flwr.peer.local_training import LocalTraining
from dimat_flwr.peer.state import PeerState
from dimat_flwr.peer.training_log import TrainingLog
from dimat_flwr.seeding import derive_seed
from dimat_flwr.symmetry import Permutation, PermutationSpec


class Learner:
    """One peer's model, brought back to life from its state for one message.

    Attributes:
        peer: the peer's index.
        round: the current round.
        device: where the model is.
        lr: the round's step size.
        data: the peer's own training samples.
    """

    def __init__(self, config: Config, state: PeerState, *, peer: int, peers: int, round: int, rounds: int,
                 simulation: bool, joins: bool = False) -> None:  # fmt: skip
        """Fill the process's network with the peer's tensors.

        Args:
            config: the run's configuration.
            state: what the peer kept; a fresh one gets newly drawn weights. It is changed in place.
            peer: the peer's index.
            peers: how many there are.
            round: the current round.
            rounds: the run's last round.
            simulation: whether all peers are in one; then nothing that is drawn need be secret.
            joins: whether the peer begins during the run, with the first model that it adopts.
        """
        self._has_statistics = not joins
        self._config, self._state, self.peer, self.round = config, state, peer, round
        self.device = resolve_device(config.training.device)
        self._shell = caches.shell(config, self.device)
        self._shell.fill(state.model or initial_state(config, peer))
        self._dataset = config.dataset.of(peer)
        self.data = caches.own_data(self._dataset, config.partition, peers, config.seeds.data, peer, self.device)
        self.lr = config.optimizer.lr * config.lr_schedule.factor(min(round, rounds), rounds)
        secret = config.privacy.draws_secretly(simulation)
        task, lr = self._dataset.task, self.lr
        self._training = LocalTraining(config, state, self._shell, task, peer=peer, round=round, lr=lr, secret=secret)
        self._gradients = 0

    @property
    def model(self) -> nn.Module:
        """The network on its device."""
        return self._shell.network

    def tensors(self) -> dict[str, Tensor]:
        """Return the model's own tensors, not copies."""
        return self._shell.tensors

    def state_dict(self, *, settled: bool = False) -> StateDict:
        """See ``algorithms.interface.Peer``."""
        if not settled:
            return _copies(self.tensors())
        with self._settled():
            return _copies(self.tensors())

    def adopt(self, mixed: Mapping[str, Tensor]) -> None:
        """See ``algorithms.interface.Peer``.

        Raises:
            ArithmeticError: a running variance that comes from the mixture is negative, which no sum of honest ones is.
        """
        policy = self._config.batchnorm.policy
        statistics = self._shell.statistics
        taken = statistics - self.unmixed if self._has_statistics else statistics
        variances = [mixed[name].flatten() for name in taken if name.endswith("running_var")]
        if variances and bool((torch.cat(variances) < 0).any()):
            raise ArithmeticError("a BatchNorm running variance of the model is negative")
        self._shell.fill(self._with_own_statistics(mixed) if self._has_statistics else mixed)
        self._has_statistics = True
        self._changed()
        self._state.stale = self._state.stale or (policy == "recalibrate" and bool(statistics))

    @contextmanager
    def standing_in(self, model: Mapping[str, Tensor]) -> Iterator[None]:
        """Let a state dict be adopted for a while, by those who only look; afterwards everything is as it was."""
        mine, state = _copies(self.tensors()), self._state
        stale, settled, measured = state.stale, state.settled, state.measured
        try:
            self.adopt(model)
            yield
        finally:
            self._shell.fill(mine)
            state.stale, state.settled, state.measured = stale, settled, measured

    def permute(self, permutation: Permutation, spec: PermutationSpec) -> None:
        """Reorder the units of model, statistics, optimizer moments and slots; what the model computes stays."""
        self._shell.fill(spec.apply(self.tensors(), permutation))
        self._state.settled = spec.apply_to(self._state.settled, permutation)
        for kind in {key.rsplit("/", 1)[1] for key in self._state.optimizer}:
            moments = {key.rsplit("/", 1)[0]: value for key, value in self._state.optimizer.items()
                       if key.rsplit("/", 1)[1] == kind and value.dim()}  # fmt: skip
            moved = spec.apply_to(moments, permutation)
            self._state.optimizer |= {f"{name}/{kind}": value for name, value in moved.items()}
        for slot in self._state.slots.values():
            fitting = {name: value for name, value in slot.items()
                       if name in spec.shapes and tuple(value.shape) == spec.shapes[name]}  # fmt: skip
            slot.update(spec.apply_to(fitting, permutation))

    def pretrain(self, *, pooled: bool = False) -> None:
        """See ``algorithms.interface.Peer``."""
        self._train_epochs(self._config.training.pretrain_epochs, None, pooled=pooled)

    def train(self, correct: Correction | None = None, *, pooled: bool = False) -> None:
        """See ``algorithms.interface.Peer``."""
        settings = self._config.training
        if settings.local_steps is None:
            self._train_epochs(
                settings.local_epochs, correct, pooled=pooled, frozen_batchnorm=self._config.batchnorm.frozen
            )
            return
        self._training.steps(self._samples(pooled), settings.local_steps, correct)
        self._changed()

    def next_batch(self) -> Batch:
        """See ``algorithms.interface.Peer``."""
        seed = self._training.batch_seed
        batch = self.data.batch(self._state.batches_drawn, self._config.training.batch_size, seed)
        self._state.batches_drawn += 1
        return batch

    def gradient(self, at: Mapping[str, Tensor] | None, batch: Batch) -> StateDict:
        """See ``algorithms.interface.Peer``."""
        self._gradients += 1
        seed = derive_seed(self._config.seeds.order, self.peer, self.round, f"gradient {self._gradients}")
        with self._training.log.timed(len(batch[1])) as timed:
            found, timed.loss = gradient(
                self.model,
                self._dataset.task,
                batch,
                at=at,
                seed=seed,
                precision=self._config.training.precision,
                frozen_batchnorm=self._config.batchnorm.frozen,
            )
        if at is None:
            self._changed()  # its statistics took note of the batch
        return found

    def full_gradient(self, at: Mapping[str, Tensor]) -> StateDict:
        """Return the gradient of the mean loss over all own samples, in training mode; nothing of the peer changes.

        Args:
            at: the tensors to compute it at, as if they were adopted; those that it lacks are the model's.

        Raises:
            ArithmeticError: it holds NaN or infinity, though the loss may be finite.
            TrainingError: the loss is not finite.
        """
        return full_gradient(
            self.model,
            self._config.dataset.task,
            self.data,
            at=self._with_own_statistics(at),
            batch_size=self._config.training.batch_size,
            seed=derive_seed(self._config.seeds.order, self.peer, self.round, "full gradient"),
            precision=self._config.training.precision,
            frozen_batchnorm=self._config.batchnorm.frozen,
        )

    def matching_inputs(
        self, samples: int, batch_size: int, generator: torch.Generator, *, pooled: bool = False
    ) -> Sequence[Tensor]:
        """Return batches of training inputs without augmentation, the peer's own or (``pooled``) all peers'."""
        return self._samples(pooled).matching_inputs(samples, batch_size, generator)

    def measure(self, at: Mapping[str, Tensor] | None = None) -> Evaluation:
        """See ``algorithms.interface.Peer``."""
        if at is not None:
            mine = self.state_dict()
            try:
                self._shell.fill(at)
                return self._evaluate()
            finally:
                self._shell.fill(mine)
        if self._state.measured is None:
            with self._settled():
                self._state.measured = self._evaluate()
        return self._state.measured

    @property
    def unmixed(self) -> frozenset[str]:
        """Names of BatchNorm statistics that nobody takes from a mixture: they are kept, or measured anew."""
        return frozenset() if self._config.batchnorm.policy == "average" else self._shell.statistics

    def own_loss(self, at: Mapping[str, Tensor], samples: int, generator: torch.Generator) -> float:
        """Return the mean loss of a state dict on some of the peer's own training samples, without augmentation.

        It is measured as a mixture would be: BatchNorm's statistics are its own with ``batchnorm.policy: average``, the
        peer's with ``keep``, and measured on these samples with ``recalibrate``. Infinite where it is no number.

        Args:
            at: the state dict.
            samples: how many to draw; all if the peer has fewer.
            generator: a CPU generator, from which they are drawn.
        """
        part, settings = self.data.part(samples, generator), self._config
        mine = self.state_dict()
        try:
            self._shell.fill(self._with_own_statistics(at))
            if settings.batchnorm.policy == "recalibrate":
                recalibrate_batchnorm(self.model, [inputs for inputs, _ in part.in_order(len(part))])
            task, precision = self._dataset.task, settings.training.precision
            batch_size = settings.evaluate.batch_size
            loss = evaluate(self.model, part, task, batch_size=batch_size, precision=precision).loss
        except MergeError:  # its numbers are so large that they give no statistics
            return math.inf
        finally:
            self._shell.fill(mine)
        return loss if math.isfinite(loss) else math.inf

    def trained(self) -> Training | None:
        """Return what was trained in this message, None if nothing was; and begin anew."""
        log, self._training.log = self._training.log, TrainingLog()
        return log.event()

    def close(self) -> None:
        """Put the model's tensors, not copies, into the peer's state, which is to be saved at once."""
        self._state.model = {name: tensor.cpu() for name, tensor in self.tensors().items()}

    @property
    def is_private(self) -> bool:
        """Whether nothing of a sample may show but through training with clipping and noise."""
        return self._training.is_private

    def privacy(self) -> Privacy:
        """Return what private training has told of each own sample so far."""
        return told_of(self._state.spent, self._config.privacy.delta)

    def _with_own_statistics(self, model: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return another model as this peer would have it: with its own statistics where it keeps them."""
        if self._config.batchnorm.policy != "keep":
            return model
        return {**model, **{name: self.tensors()[name] for name in self._shell.statistics}}

    def _changed(self) -> None:
        self._state.measured = None
        self._state.settled = {}

    def _samples(self, pooled: bool) -> PeerData:
        """Return the peer's own training samples, or all peers'."""
        return caches.everyones_data(self._dataset, self.device) if pooled else self.data

    def _train_epochs(
        self, epochs: int, correct: Correction | None, *, pooled: bool, frozen_batchnorm: bool = False
    ) -> None:
        if epochs:
            self._training.epochs(self._samples(pooled), epochs, correct, frozen_batchnorm=frozen_batchnorm)
            self._changed()

    @contextmanager
    def _settled(self) -> Iterator[None]:
        """Let BatchNorm's statistics be true of the model for a while, measured on the peer's own data if stale.

        They are put back afterwards, so that whether anybody looked changes nothing in what follows. The data are the
        same at every look: what is found depends on the model alone.
        """
        if not self._state.stale:
            yield
            return
        names = _with_counts(self._shell.statistics)
        tensors = self.tensors()
        mixed = _copies({name: tensors[name] for name in names})
        try:
            if self._state.settled:
                for name in names:
                    tensors[name].copy_(self._state.settled[name])
            else:
                policy = self._config.batchnorm
                generator = torch.Generator().manual_seed(
                    derive_seed(self._config.seeds.order, self.peer, purpose="recalibration")
                )
                inputs = self.data.matching_inputs(policy.samples, policy.batch_size, generator)
                recalibrate_batchnorm(self.model, inputs)
                self._state.settled = _copies({name: tensors[name] for name in names})
            yield
        finally:
            for name, tensor in mixed.items():
                tensors[name].copy_(tensor)

    def _evaluate(self) -> Evaluation:
        return evaluate(
            self.model,
            caches.held_out_data(self._dataset, self.device),
            self._dataset.task,
            batch_size=self._config.evaluate.batch_size,
            precision=self._config.training.precision,
        )


def _with_counts(statistics: Collection[str]) -> list[str]:
    """Return the names of everything that a recalibration sets: means, variances and counts of batches."""
    means = [name.removesuffix("running_mean") for name in statistics if name.endswith("running_mean")]
    return sorted([*statistics, *(f"{prefix}num_batches_tracked" for prefix in means)])


def _copies(tensors: Mapping[str, Tensor]) -> StateDict:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
