"""A peer's first weights: newly drawn, or read from a file that was checked before anybody trained."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dimat_flwr.config import Config, build_network
from dimat_flwr.data import PLACE
from dimat_flwr.peer.errors import PeerSetupError
from dimat_flwr.seeding import EVERYONE, derive_seed

_NAMED = 3  # tensors named for each kind of fault


def initial_state(config: Config, peer: int) -> dict[str, Tensor]:
    """Return a peer's first weights, on the CPU; the global generator is left as it was.

    Raises:
        PeerSetupError: see ``check_initial_file``.
    """
    who = peer if config.training.initialization == "different" else EVERYONE
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seeds.initialization, who, purpose="initialization"))
        drawn = dict(build_network(config.model).state_dict())
    return drawn if config.training.initialization_file is None else _read(config, drawn, peer)


def check_initial_file(config: Config, like: Mapping[str, Tensor], place: int) -> None:
    """Check that the file a peer is to start from is there and fits the network; nothing to do without one.

    Args:
        config: the run's configuration.
        like: the network's state dict.
        place: the peer's place, -1 where it is not known before the run.

    Raises:
        PeerSetupError: there is no such file, or names, shapes or types of its tensors are not the network's, or they
            are not finite; or each peer has a file of its own and this one does not know which.
    """
    file = config.training.initialization_file
    if file is None:
        return
    if PLACE in file and place < 0:
        raise PeerSetupError(
            f"training.initialization_file '{file}' names a file for each peer, but this one does not know its place "
            "before the run; give its SuperNode a partition-id in --node-config"
        )
    _read(config, like, place)


def _read(config: Config, like: Mapping[str, Tensor], peer: int) -> dict[str, Tensor]:
    path = Path(str(config.training.initialization_file).replace(PLACE, str(peer))).expanduser().absolute()
    if not path.is_file():
        raise PeerSetupError(
            f"training.initialization_file: there is no file {path}; give a model that a run has saved, "
            "models/peer-<i>.safetensors in its folder"
        )
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise PeerSetupError(
            f"training.initialization_file: {path} cannot be read as safetensors ({error}); give a model that a run "
            "has saved, models/peer-<i>.safetensors in its folder"
        ) from error
    faults = _faults(found, like)
    if faults:
        raise PeerSetupError(
            f"training.initialization_file: {path} does not fit model '{config.choices['model']}': {'; '.join(faults)}"
        )
    return {name: found[name] for name in like}


def _faults(found: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> list[str]:
    both = [name for name in like if name in found]
    kinds = {
        "missing": [f"'{name}'" for name in like if name not in found],
        "unknown": [f"'{name}'" for name in found if name not in like],
        "of another shape": [
            f"'{name}' {tuple(found[name].shape)} instead of {tuple(like[name].shape)}"
            for name in both
            if found[name].shape != like[name].shape
        ],
        "of another type": [
            f"'{name}' {found[name].dtype} instead of {like[name].dtype}"
            for name in both
            if found[name].dtype != like[name].dtype
        ],
        "not finite": [f"'{name}'" for name in both if not bool(found[name].isfinite().all())],
    }
    return [f"{kind}: {_listed(names)}" for kind, names in kinds.items() if names]


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = len(every) - _NAMED
    return ", ".join(every[:_NAMED]) + (f" and {more} more" if more > 0 else "")
