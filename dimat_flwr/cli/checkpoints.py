"""Checkpoints on disk: state dicts as ``.safetensors``, or as ``.pt`` files read without running code in them."""

import os
import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from dimat_flwr.cli.errors import CommandError
from dimat_flwr.cli.sharded import checkpoint_in, load_sharded


def load_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a state dict onto the CPU.

    Args:
        path: a ``.safetensors`` file, a ``.safetensors.index.json`` of shards, a folder with either as Hugging Face
            names them, or anything else that ``torch.save`` wrote of a state dict.

    Raises:
        CommandError: the file is missing, damaged, or holds something else than a state dict.
    """
    if path.is_dir():
        path = checkpoint_in(path)
    if not path.is_file():
        raise CommandError(f"there is no checkpoint {path}.")
    if path.name.endswith(".safetensors.index.json"):
        return load_sharded(path)
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CommandError(
            f"{path} cannot be read ({reason}): give a .safetensors file or a .pt file with a plain state dict, "
            "saved by torch.save(model.state_dict(), path)."
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        found = f"a mapping with {list(state)[:5]}" if isinstance(state, Mapping) else f"a {type(state).__name__}"
        raise CommandError(f"{path} holds {found}, not a state dict of tensors: save model.state_dict() alone.")
    return dict(state)


def save_checkpoint(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a state dict as ``.safetensors`` or ``.pt``; the file appears only when it is complete.

    Args:
        state: what to write.
        path: where; an existing file is replaced.

    Raises:
        CommandError: the suffix is another one, or the folder does not exist.
    """
    check_writable(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            if path.suffix == ".safetensors":
                file.write(safetensors.torch.save({key: tensor.cpu().contiguous() for key, tensor in state.items()}))
            else:
                torch.save({key: tensor.cpu() for key, tensor in state.items()}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_writable(path: Path) -> None:
    """Check before the work starts that ``save_checkpoint`` will take the path.

    Raises:
        CommandError: the suffix is not ``.safetensors``, ``.pt`` or ``.pth``, or the folder does not exist.
    """
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise CommandError(f"cannot write {path}: end its name with .safetensors or .pt.")
    if not path.parent.is_dir():
        raise CommandError(f"cannot write {path}: the folder {path.parent} does not exist.")


def _umask() -> int:
    # The mask can only be read by setting it; mkstemp's files are private, a checkpoint should be as others are.
    mask = os.umask(0)
    os.umask(mask)
    return mask
