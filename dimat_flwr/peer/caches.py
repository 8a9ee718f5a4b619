"""What a process makes once and every peer that it runs may use: configuration, partition, networks, their symmetries.

Any worker of a simulation may run any peer, so everything is found by its content, never by who asked first.
"""

import json
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dimat_flwr.config import NODE_KEYS, Config, ConfigError, build_network, load_config, try_out
from dimat_flwr.data import DataSource, Kept, Partition
from dimat_flwr.learning import PeerData
from dimat_flwr.merging import running_statistics
from dimat_flwr.seeding import derive_seed
from dimat_flwr.symmetry import PermutationSpec, cached_permutation_spec


def configuration(run_config: Mapping[str, Any], node_config: Mapping[str, Any], conf_dir: Path) -> Config:
    """Return the run's configuration on this machine, composed once per process; see ``load_config``."""
    own = {key: value for key, value in node_config.items() if key in NODE_KEYS}
    return _load(json.dumps(dict(run_config), sort_keys=True), json.dumps(own, sort_keys=True), conf_dir)


@lru_cache(maxsize=4)
def _load(run_config: str, node_config: str, conf_dir: Path) -> Config:
    return load_config(json.loads(run_config), json.loads(node_config), conf_dir)


@Kept
def partition_indices(
    dataset: DataSource, partition: Partition, peers: int, seed: int
) -> tuple[NDArray[np.int64], ...]:
    """Return the indices of every peer's training samples; all that read one data set compute the same partition."""
    Kept.make_room(peers)
    strata = dataset.load().train_strata.numpy()
    return tuple(partition.split(strata, peers, derive_seed(seed, purpose="partition")))


# Indices and labels of one peer are small: the inputs themselves are shared by all.
@Kept
def own_data(
    dataset: DataSource, partition: Partition, peers: int, seed: int, peer: int, device: torch.device
) -> PeerData:
    """Return one peer's training samples on a device."""
    return PeerData.training(dataset, partition_indices(dataset, partition, peers, seed)[peer], device)


@Kept
def held_out_data(dataset: DataSource, device: torch.device) -> PeerData:
    """Return the test set on a device."""
    return PeerData.testing(dataset, device)


@lru_cache(maxsize=2)
def everyones_data(dataset: DataSource, device: torch.device) -> PeerData:
    """Return all peers' training samples together; for comparisons in a simulation."""
    return PeerData.training(dataset, None, device)


class Shell:
    """A network on a device whose tensors are replaced for each message: building one costs more than a minibatch.

    Attributes:
        network: the network.
        tensors: its own tensors by their names in the state dict, detached.
        statistics: names of BatchNorm's running means and variances.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._tensors = network.state_dict(keep_vars=True)
        self.tensors = {name: tensor.detach() for name, tensor in self._tensors.items()}
        self.statistics = running_statistics(network)
        # Buffers outside the state dict belong to no peer: each message finds them as they were built.
        self._other = {
            name: (buffer, buffer.clone()) for name, buffer in network.named_buffers() if name not in self._tensors
        }

    @cached_property
    def compiled(self) -> Callable[[Tensor], Tensor]:
        """What computes the network's scores by ``torch.compile``, from its own tensors; compiled when first called.

        One program does for batches of all sizes. Left to itself torch makes one for the first size it sees and another
        for all; which of them a batch is given to, and so its rounding, would follow from what the process did before.
        """
        # Torch gives up compiling the networks of a class, in silence, after the eighth; a process has a few at a time.
        torch.compiler.reset()
        compiled: Callable[[Tensor], Tensor] = torch.compile(self.network)

        def scores(inputs: Tensor) -> Tensor:
            torch._dynamo.maybe_mark_dynamic(inputs, 0)
            return compiled(inputs)

        return scores

    def fill(self, state: Mapping[str, Tensor]) -> None:
        """Copy a whole state dict into the network and drop its gradients.

        Raises:
            ValueError: names or shapes are not those of the network.
        """
        if state.keys() != self._tensors.keys():
            unfit = sorted(state.keys() ^ self._tensors.keys())
            raise ValueError(f"a state dict does not fit the network: {', '.join(unfit[:5])}")
        given = [state[name] for name in self._tensors]
        for (name, tensor), new in zip(self._tensors.items(), given, strict=True):
            if tensor.shape != new.shape:
                raise ValueError(f"'{name}' has shape {tuple(new.shape)}, not {tuple(tensor.shape)}")
            tensor.grad = None
        with torch.no_grad():
            if given:
                torch._foreach_copy_(list(self._tensors.values()), given)
            for buffer, built in self._other.values():
                buffer.copy_(built)


@lru_cache(maxsize=2)
def shell(config: Config, device: torch.device) -> Shell:
    """Return the process's one network of the run, with whatever tensors it last had."""
    with torch.random.fork_rng(devices=[]):
        network = build_network(config.model).to(device)
    wanted = config.training.channels_last
    if wanted == "always" or device.type == "cuda":
        _order(network, torch.channels_last)
        if wanted == "auto" and not _works(config, network, device):
            _order(network, torch.contiguous_format)
    return Shell(network)


def _order(network: nn.Module, order: torch.memory_format) -> None:
    """Lay a network's tensors of images out in memory; ``Module.to`` fails where there are some of volumes."""
    network._apply(  # type: ignore[no-untyped-call]
        lambda tensor: tensor.contiguous(memory_format=order) if tensor.dim() == 4 else tensor
    )


def _works(config: Config, network: nn.Module, device: torch.device) -> bool:
    """Whether a network runs as it is: many flatten by ``view``, which refuses activations with channels last."""
    try:
        try_out(config, network, device)
    except ConfigError as error:
        if isinstance(error.__cause__, torch.OutOfMemoryError):  # which says nothing of the network
            raise
        return False
    return True


@lru_cache(maxsize=2)
def permutation_spec(config: Config) -> PermutationSpec:
    """Return the permutation symmetries of the run's network: found and proven once per machine, then read."""
    with torch.random.fork_rng(devices=[]):
        network = build_network(config.model).eval()
        folder = Path(config.cache_dir).expanduser() / "symmetries"
        return cached_permutation_spec(network, config.dataset.example_input(2), folder)
