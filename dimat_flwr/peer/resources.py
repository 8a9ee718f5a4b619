"""What a peer works with besides its state: data, device, traced network; made once per process and configuration.

Any simulation worker may run any peer, so everything is cached by content, never by who asked first.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dimat_flwr.config import NODE_KEYS, Config, build_model, load_config
from dimat_flwr.data import DataSource, Partition
from dimat_flwr.learning import PeerData, autocast, resolve_device
from dimat_flwr.seeding import EVERYONE, derive_seed
from dimat_flwr.symmetry import PermutationSpec, find_permutation_spec, verify
from dimat_flwr.wire.instruction import Instruction

_LARGEST_ERROR = 1e-4  # of float32 rounding, relative to the output


class ResourceError(RuntimeError):
    """Something a peer needs is not there; found before any training."""


def configuration(run_config: Mapping[str, Any], node_config: Mapping[str, Any], conf_dir: Path) -> Config:
    """Return the run's configuration on this machine, composed once per process; see ``load_config``."""
    own = {key: value for key, value in node_config.items() if key in NODE_KEYS}
    return _load(json.dumps(dict(run_config), sort_keys=True), json.dumps(own, sort_keys=True), conf_dir)


@lru_cache(maxsize=4)
def _load(run_config: str, node_config: str, conf_dir: Path) -> Config:
    return load_config(json.loads(run_config), json.loads(node_config), conf_dir)


def check_resources(config: Config, instruction: Instruction) -> None:
    """Check, before any training, that this peer has what the run will ask of it.

    Raises:
        DataError: files are missing, or the partition leaves a peer without data.
        DeviceError: there is no such device.
        ResourceError: the model's folder cannot be written.
    """
    autocast(resolve_device(config.training.device), config.training.precision)
    config.dataset.check()
    partition_indices(config.dataset, config.partition, instruction.peers, config.seed)
    folder = model_folder(config, instruction.run_name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise ResourceError(f"the model cannot be saved in {folder}: {error.strerror}; set output-dir") from error
    if config.training.verify_spec:
        _require_true_spec(config)
    if config.algorithm.pools_data and not instruction.simulation:
        raise ResourceError("match_data: pooled needs all peers' images, which only a simulation has; use local")


def model_folder(config: Config, run_name: str) -> Path:
    """Return where this machine keeps the final models of a run."""
    return Path(config.output_dir).expanduser().absolute() / run_name / "models"


@lru_cache(maxsize=4)
def partition_indices(
    dataset: DataSource, partition: Partition, peers: int, seed: int
) -> tuple[NDArray[np.int64], ...]:
    """Return the indices of every peer's training images; all peers compute the same partition."""
    labels = dataset.load().train_labels.numpy()
    return tuple(partition.split(labels, peers, derive_seed(seed, purpose="partition")))


def everyones_data(config: Config, device: torch.device) -> PeerData:
    """Return all peers' training images together; for comparisons in a simulation."""
    return PeerData.training(config.dataset, None, device)


def initial_model(config: Config, peer: int) -> nn.Module:
    """Return the network with the first weights of a peer, on the CPU; the global generator is left as it was."""
    who = EVERYONE if config.training.initialization == "same" else peer
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, who, purpose="initialization"))
        return config.build_model()


def permutation_spec(config: Config) -> PermutationSpec:
    """Return the permutation symmetries of the run's network, traced once per process."""
    data = config.dataset
    shape = (2, data.channels, data.image_size, data.image_size)
    return _traced(json.dumps(dict(config.model), sort_keys=True), shape)


def _require_true_spec(config: Config) -> None:
    spec, data = permutation_spec(config), config.dataset
    images = torch.rand(4, data.channels, data.image_size, data.image_size, generator=torch.Generator().manual_seed(0))
    error = verify(initial_model(config, 0), spec, images)
    if not error <= _LARGEST_ERROR:
        raise ResourceError(
            f"the permutation groups found for model '{config.choices['model']}' change its output by {error:.1e} of "
            f"its size (allowed: {_LARGEST_ERROR:.0e}); do not align this network, and please report it"
        )


@lru_cache(maxsize=2)
def _traced(model: str, shape: tuple[int, ...]) -> PermutationSpec:
    with torch.random.fork_rng(devices=[]):
        return find_permutation_spec(build_model(json.loads(model)).eval(), torch.zeros(shape))
