"""One peer during one step: the ``algorithms.interface.Peer`` that an algorithm sees, on model, data and state."""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dimat_flwr.algorithms.interface import Stage, StateDict
from dimat_flwr.config import Config
from dimat_flwr.learning import (
    Batch,
    PeerData,
    TrainingResult,
    evaluate,
    gradient,
    local_accuracy,
    resolve_device,
    train,
    train_steps,
)
from dimat_flwr.merging import recalibrate_batchnorm
from dimat_flwr.merging.batchnorm import running_statistics
from dimat_flwr.peer import resources
from dimat_flwr.peer.optimizer_state import restore_optimizer, save_optimizer
from dimat_flwr.peer.resources import ResourceError
from dimat_flwr.peer.state import PeerState
from dimat_flwr.seeding import derive_seed
from dimat_flwr.symmetry import PermutationSpec
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.report import Event


class Session:
    """Implements ``algorithms.interface.Peer`` for one message."""

    def __init__(self, config: Config, instruction: Instruction, state: PeerState, events: list[Event]) -> None:
        """Bring a peer back to life as its state left it.

        Args:
            config: the run's configuration.
            instruction: what is asked of the peer.
            state: what it kept; a fresh state gets newly drawn weights.
            events: takes what happens, for the report.
        """
        if config.training.threads:
            torch.set_num_threads(config.training.threads)
        self._config, self._instruction, self._state, self._events = config, instruction, state, events
        self.device = resolve_device(config.training.device)
        self._model = resources.initial_model(config, instruction.peer).to(self.device)
        if self.device.type == "cuda":
            self._model = self._model.to(memory_format=torch.channels_last)
        if state.weights:
            self._model.load_state_dict(state.weights)
        own = resources.partition_indices(config.dataset, config.partition, instruction.peers, config.seed)
        self._data = PeerData.training(config.dataset, own[instruction.peer], self.device)

    @property
    def index(self) -> int:
        """See ``Peer``."""
        return self._instruction.peer

    @property
    def round_number(self) -> int:
        """See ``Peer``."""
        return self._instruction.round_number

    @property
    def readers(self) -> Sequence[int]:
        """See ``Peer``."""
        return self._instruction.readers

    @property
    def model(self) -> nn.Module:
        """See ``Peer``."""
        return self._model

    @property
    def tensors(self) -> MutableMapping[str, Tensor]:
        """See ``Peer``."""
        return self._state.tensors

    @property
    def numbers(self) -> MutableMapping[str, float]:
        """See ``Peer``."""
        return self._state.numbers

    @property
    def spec(self) -> PermutationSpec:
        """See ``Peer``."""
        return resources.permutation_spec(self._config)

    def weights(self) -> StateDict:
        """See ``Peer``."""
        return {name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """See ``Peer``."""
        self._model.load_state_dict(dict(weights))
        self._state.evaluation = {}

    def adopt(self, mixed: Mapping[str, Tensor]) -> None:
        """See ``Peer``."""
        policy = self._config.batchnorm
        own = self._model.state_dict()
        if policy.policy == "keep":
            mixed = {**mixed, **{name: own[name].clone() for name in running_statistics(self._model)}}
        self.load(mixed)
        if policy.policy == "recalibrate":
            recalibrate_batchnorm(self._model, self.matching_batches(policy.samples, policy.batch_size))

    def pretrain(self) -> None:
        """See ``Peer``."""
        self._train_epochs(self._config.training.pretrain_epochs)

    def train(self) -> None:
        """See ``Peer``."""
        settings = self._config.training
        if settings.local_steps is None:
            self._train_epochs(settings.local_epochs)
            return
        optimizer = self._optimizer()
        result = train_steps(
            self._model,
            self._data,
            optimizer,
            first=self._state.batches_drawn,
            steps=settings.local_steps,
            batch_size=settings.batch_size,
            seed=self._batch_seed,
            precision=settings.precision,
        )
        self._state.batches_drawn += settings.local_steps
        self._trained(optimizer, result)

    def next_batch(self) -> Batch:
        """See ``Peer``."""
        batch = self._data.batch(self._state.batches_drawn, self._config.training.batch_size, self._batch_seed)
        self._state.batches_drawn += 1
        return batch

    def gradient(self, weights: Mapping[str, Tensor] | None, batch: Batch) -> StateDict:
        """See ``Peer``."""
        seed = derive_seed(self._config.seed, self.index, self.round_number, "gradient")
        precision = self._config.training.precision
        gradients, _ = gradient(self._model, batch, weights=weights, seed=seed, precision=precision)
        return gradients

    def matching_batches(self, samples: int, batch_size: int, *, pooled: bool = False) -> Sequence[Tensor]:
        """See ``Peer``."""
        data = self._data
        if pooled:
            if not self._instruction.simulation:
                raise ResourceError(
                    "match_data: pooled needs all peers' images, which only a simulation has; use local"
                )
            data = resources.everyones_data(self._config, self.device)
        return data.matching_batches(samples, batch_size, self.generator("matching"))

    def evaluate(self, stage: Stage) -> None:
        """See ``Peer``."""
        last = self._config.rounds
        if self.round_number % self._config.evaluate.every and self.round_number < last:
            return
        if not self._state.evaluation:
            self._state.evaluation = self._measure()
        self.record("evaluation", stage=stage, **self._state.evaluation)

    def record(self, event: str, **values: Any) -> None:
        """See ``Peer``."""
        self._events.append({"event": event, "peer": self.index, "round": self.round_number, **values})

    def generator(self, purpose: str) -> torch.Generator:
        """See ``Peer``."""
        seed = derive_seed(self._config.seed, self.index, self.round_number, purpose)
        return torch.Generator().manual_seed(seed)

    def keep_model(self) -> None:
        """Save the final model on this machine; the file appears only when it is complete."""
        folder = resources.model_folder(self._config, self._instruction.run_name)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"peer-{self.index}.safetensors"
        part = path.with_suffix(".part")
        save_file({name: tensor.cpu().contiguous() for name, tensor in self.weights().items()}, part)
        part.replace(path)

    def close(self) -> PeerState:
        """Return what is to be kept until the next message."""
        self._state.weights = {name: tensor.cpu() for name, tensor in self.weights().items()}
        return self._state

    @property
    def _batch_seed(self) -> int:
        return derive_seed(self._config.seed, self.index, purpose="batches")

    def _train_epochs(self, epochs: int) -> None:
        optimizer = self._optimizer()
        result = train(
            self._model,
            self._data,
            optimizer,
            epochs=epochs,
            batch_size=self._config.training.batch_size,
            generator=self.generator("batches"),
            precision=self._config.training.precision,
        )
        self._trained(optimizer, result)

    def _optimizer(self) -> torch.optim.Optimizer:
        optimizer = self._config.optimizer.build(self._model.parameters())
        restore_optimizer(optimizer, self._model, self._state.optimizer)
        return optimizer

    def _trained(self, optimizer: torch.optim.Optimizer, result: TrainingResult) -> None:
        if self._config.training.keep_optimizer:
            self._state.optimizer = save_optimizer(optimizer, self._model)
        if result.steps:
            self._state.evaluation = {}
        self.record("training", loss=result.loss, samples=result.samples, seconds=round(result.seconds, 3))

    def _measure(self) -> dict[str, Any]:
        dataset, settings = self._config.dataset, self._config.evaluate
        found = evaluate(
            self._model,
            PeerData.testing(dataset, self.device),
            num_classes=dataset.num_classes,
            batch_size=settings.batch_size,
            precision=self._config.training.precision,
        )
        local = local_accuracy(found, self._data.label_counts(dataset.num_classes))
        return {"accuracy": found.accuracy, "local_accuracy": local, "loss": found.loss}
