"""What a peer checks before any training, so that nothing that could be known fails a run half-way."""

import difflib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dimat_flwr.config import NODE_KEYS, Config, check_network
from dimat_flwr.data import PLACE, DataSource
from dimat_flwr.learning import PrivacyError, autocast, compiler_fault, resolve_device
from dimat_flwr.peer import caches
from dimat_flwr.peer.errors import PeerSetupError
from dimat_flwr.peer.initial_state import check_initial_file
from dimat_flwr.peer.memory import account_folder, memory_folder
from dimat_flwr.peer.saved_model import run_folder
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.worker.idle import IDLE_KEY

_FLOWERS = ("partition-id", "num-partitions")  # keys of --node-config that Flower has names for
_ALIKE = 0.82  # of difflib's ratios: 'devise' is like 'device', and 'device-id' is not
_GATHERS = (
    "the instruments counterfactual, consensus and gradient bring all models to one peer. Outside a simulation that is "
    "done only where it is asked for: set instruments.outside_simulation=true, or instruments=none"
)
POOLED = (
    "match_data: pooled and algorithm centralized need all peers' samples, which only a simulation has; use "
    "match_data: local, or another algorithm"
)


def check_setup(config: Config, instruction: Instruction, place: int) -> None:
    """Check that this peer has what the run will ask of it.

    Args:
        config: the run's configuration.
        instruction: of the setup.
        place: the place in the topology that the peer claims, -1 where it has none yet.

    Raises:
        ConfigError: the network does not work with data set or algorithm.
        DataError: files are missing, or the partition leaves a peer without data.
        DeviceError: there is no such device.
        PrivacyError: the network lets samples meet, or delta is too large for so few samples.
        PeerSetupError: the model's folder or that of checkpoints cannot be written, the file of first weights does not
            fit, all peers of a simulation would have the same samples for their own, or the configuration asks for what
            this peer cannot do.
    """
    device = resolve_device(config.training.device)
    autocast(device, config.training.precision)
    _require_samples_of_its_own(config, instruction, place)
    dataset = _own(config.dataset, place)
    dataset.check()
    parts = caches.partition_indices(dataset, config.partition, instruction.peers, config.seeds.data)
    network = caches.shell(config, device).network
    check_network(config, network, device)
    _check_speed(config, network)
    _check_privacy(config, network, device, max(len(own) for own in (parts if place < 0 else parts[place : place + 1])))
    check_initial_file(config, network.state_dict(), place)
    size = _model_bytes(network)
    _require_writable(run_folder(config, instruction.run) / "models", size, "the model", "output-dir")
    if (memory := memory_folder(config, instruction)) is not None:
        _require_writable(memory, size, "checkpoints", "state-dir")
    if (accounts := account_folder(config, instruction)) is not None:
        _require_writable(accounts, 0, "the account of private steps", "state-dir")
    if config.instruments.gathers and not (instruction.simulation or config.instruments.outside_simulation):
        raise PeerSetupError(_GATHERS)
    pools = config.algorithm.pools_data or config.final_merge.pools_data
    if pools and not instruction.simulation:
        raise PeerSetupError(POOLED)


def check_node_config(node_config: Mapping[str, Any]) -> None:
    """Refuse a key of a device's own that is nearly one of ours; others may be meant for another app.

    Raises:
        PeerSetupError: there are such keys.
    """
    ours = [*NODE_KEYS, IDLE_KEY, *_FLOWERS]
    like = {key: _looks_like(key, ours) for key in node_config if key not in ours}
    if told := ", ".join(f"'{key}' (did you mean '{found}'?)" for key, found in like.items() if found):
        raise PeerSetupError(f"--node-config has keys that nothing reads: {told}")


def _looks_like(key: str, ours: Sequence[str]) -> str:
    plain = key.lower().replace("_", "-").strip()
    return next(iter(difflib.get_close_matches(plain, ours, n=1, cutoff=_ALIKE)), "")


def _check_speed(config: Config, network: nn.Module) -> None:
    """Refuse settings of ``training`` that would change nothing here, or cannot be had."""
    if config.training.channels_last == "always" and all(tensor.dim() != 4 for tensor in network.parameters()):
        raise PeerSetupError(
            f"training.channels_last=always orders the weights of convolutions of images, and model "
            f"'{config.choices['model']}' has none; leave it at auto"
        )
    if config.training.compile and (missing := compiler_fault()):
        raise PeerSetupError(f"training.compile: {missing}; set training.compile=false")


def _check_privacy(config: Config, network: nn.Module, device: torch.device, samples: int) -> None:
    if config.privacy.noise_multiplier is None:
        return
    from dimat_flwr.learning.private_network import private_faults

    if config.privacy.delta * samples >= 1:
        raise PrivacyError(
            f"privacy.delta {config.privacy.delta:g} would allow one of {samples} samples to be given away; set it "
            f"well below {1 / samples:.1g}"
        )
    if faults := private_faults(network, config.dataset.example_input(2).to(device)):
        raise PrivacyError("; ".join(f"privacy: {fault}" for fault in faults))


def _require_samples_of_its_own(config: Config, instruction: Instruction, place: int) -> None:
    """Refuse a simulation in which another peer has the same samples for its own: there only places tell them apart.

    A data set knows its peer by ``DataSource.of`` alone, so two that are equal there read the same.
    """
    dataset, peers = config.dataset, instruction.peers
    if config.partition.shared or not instruction.simulation or peers < 2:
        return
    own = max(place, 0)
    if dataset.of(own) == dataset.of((own + 1) % peers):
        raise PeerSetupError(
            f"partition '{config.choices['partition']}' lets every peer train on all of the data set that it reads, "
            f"and in a simulation all of them would read the same one: write {PLACE} into data-dir where the peer's "
            "place is to stand, such as data-dir='/data/device-{peer}', or choose a partition that deals one data set "
            "out, such as partition=iid. A data set of your own may tell peers apart in DataSource.of"
        )


def _own(dataset: DataSource, place: int) -> DataSource:
    if dataset.differs_by_peer and place < 0:
        raise PeerSetupError(
            f"data-dir '{dataset.data_dir}' names a folder for each peer, but this one does not know its place before "
            "the run; give its SuperNode a partition-id, or its own data-dir, in --node-config"
        )
    return dataset.of(place)


def _model_bytes(network: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


def _require_writable(folder: Path, size: int, what: str, key: str) -> None:
    """Write a file that no other process knows of: simulated peers share the folder and come all at once."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".probe-")
        try:
            os.write(handle, b"\0")
            os.fsync(handle)
        finally:
            os.close(handle)
            os.unlink(name)
    except OSError as error:
        raise PeerSetupError(f"{what} cannot be saved in {folder}: {error.strerror}; set {key}") from error
    free = shutil.disk_usage(folder).free
    if free < 3 * size:
        raise PeerSetupError(
            f"{folder} has {free / 1e6:.0f} MB free, too little for a model of {size / 1e6:.0f} MB that is written "
            f"anew before the old one goes; free some space or set {key}"
        )
