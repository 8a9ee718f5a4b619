"""A peer's training on its own samples as the run's settings want it: epochs or steps, private or not."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dimat_flwr.config import Config
from dimat_flwr.data import Task
from dimat_flwr.learning import (
    Correction,
    Keystream,
    PeerData,
    RunningOptimizer,
    restore_optimizer,
    save_optimizer,
    spend,
    steps_taken,
    train_epochs,
    train_steps,
)
from dimat_flwr.peer.caches import Shell
from dimat_flwr.peer.state import PeerState
from dimat_flwr.peer.training_log import TrainingLog
from dimat_flwr.seeding import derive_seed


class LocalTraining:
    """Trains the network in a shell, with the optimizer's moments and the order of minibatches going on from before.

    Attributes:
        log: takes what was trained.
        lr: the round's step size.
        batch_seed: of the order in which minibatches are taken one at a time.
    """

    def __init__(self, config: Config, state: PeerState, shell: Shell, task: Task, *, peer: int, round: int, lr: float,
                 secret: bool) -> None:  # fmt: skip
        """Prepare for one message.

        Args:
            config: the run's configuration.
            state: the peer's; optimizer, count of minibatches and private steps are changed in place.
            shell: has the network, filled with the peer's tensors.
            task: makes the loss.
            peer: the peer's index.
            round: the current round.
            lr: the round's step size.
            secret: whether what private training draws comes from the operating system.
        """
        self._config, self._state, self._shell, self._task = config, state, shell, task
        self._peer, self._round, self._secret = peer, round, secret
        self.lr = lr
        self.log = TrainingLog()
        self.batch_seed = derive_seed(config.seeds.order, peer, purpose="minibatches")
        self._trainings = 0

    @property
    def is_private(self) -> bool:
        """Whether nothing of a sample may show but through training with clipping and noise."""
        return self._config.privacy.noise_multiplier is not None

    def epochs(
        self, data: PeerData, epochs: int, correct: Correction | None, *, frozen_batchnorm: bool = False
    ) -> None:
        """Train for whole epochs; in private training for as many steps as cover the samples."""
        settings = self._config.training
        if self.is_private:
            # A number that nobody has to be told.
            self._privately(data, epochs * math.ceil(len(data) / settings.batch_size), correct)
            return
        self._trainings += 1
        # An algorithm may train more than once in one message, and not twice in the same order.
        purpose = "batches" if self._trainings == 1 else f"batches {self._trainings}"
        seed = derive_seed(self._config.seeds.order, self._peer, self._round, purpose)
        with self._optimizer() as optimizer:
            self.log.add(
                train_epochs(
                    self._shell.network,
                    data,
                    optimizer,
                    self._task,
                    epochs=epochs,
                    batch_size=settings.batch_size,
                    generator=torch.Generator().manual_seed(seed),
                    precision=settings.precision,
                    lr=self.lr,
                    correct=correct,
                    forward=self._shell.compiled if settings.compile else None,
                    frozen_batchnorm=frozen_batchnorm,
                )
            )

    def steps(self, data: PeerData, steps: int, correct: Correction | None) -> None:
        """Train on the next minibatches."""
        settings = self._config.training
        if self.is_private:
            self._privately(data, steps, correct)
            return
        with self._optimizer() as optimizer:
            self.log.add(
                train_steps(
                    self._shell.network,
                    data,
                    optimizer,
                    self._task,
                    first=self._state.batches_drawn,
                    steps=steps,
                    batch_size=settings.batch_size,
                    seed=self.batch_seed,
                    precision=settings.precision,
                    lr=self.lr,
                    correct=correct,
                    forward=self._shell.compiled if settings.compile else None,
                    frozen_batchnorm=self._config.batchnorm.frozen,
                )
            )
        self._state.batches_drawn += steps

    def _privately(self, data: PeerData, steps: int, correct: Correction | None) -> None:
        # Opacus takes seconds to import, and brings all of torch's optimizers.
        from dimat_flwr.learning.private import Protection, sampling_rate, train_privately

        settings, privacy, spent = self._config.training, self._config.privacy, self._state.spent
        sigma = privacy.noise_multiplier
        assert sigma is not None
        purpose = f"privacy, step {steps_taken(spent)}"
        seed = derive_seed(self._config.seeds.order, self._peer, self._round, purpose)
        keystream = Keystream.secret() if self._secret else Keystream.seeded(seed)
        with self._optimizer() as optimizer:
            self.log.add(
                train_privately(
                    self._shell.network,
                    data,
                    optimizer,
                    self._task,
                    Protection(sigma, privacy.max_grad_norm, keystream),
                    steps=steps,
                    batch_size=settings.batch_size,
                    precision=settings.precision,
                    lr=self.lr,
                    correct=correct,
                )
            )
        spend(spent, sigma, sampling_rate(len(data), settings.batch_size), steps)

    @contextmanager
    def _optimizer(self) -> Iterator[RunningOptimizer]:
        """Give the optimizer with the moments it had, and keep those it has afterwards if the configuration says so."""
        network = self._shell.network
        optimizer = self._config.optimizer.build(network.parameters())
        restore_optimizer(optimizer, network, self._state.optimizer, copy=False)
        yield optimizer
        if self._config.training.keep_optimizer:
            self._state.optimizer = save_optimizer(optimizer, network)
