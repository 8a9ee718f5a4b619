"""The model file that a peer leaves on its own machine."""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from dimat_flwr.config import Config
from dimat_flwr.events import Final
from dimat_flwr.peer.durable import write_durably
from dimat_flwr.wire.instruction import Instruction


def run_folder(config: Config, run: str, base: str | None = None) -> Path:
    """Return the folder of a run on this machine, below ``output_dir`` or below ``base``."""
    return Path(base or config.output_dir).expanduser().absolute() / run


def save_model(config: Config, instruction: Instruction, state: Mapping[str, Tensor]) -> Callable[..., Final]:
    """Write a state dict to ``models/peer-<i>.safetensors``; a reader meets the old file or the new, never half of one.

    Args:
        config: names the folder.
        instruction: names run, peer and round; the file's metadata has peer and round.
        state: what to write.

    Returns:
        The ``Final`` event of this file, which lacks its figures: ``accuracy``, ``local_accuracy``, ``loss``.
    """
    path = run_folder(config, instruction.run) / "models" / f"peer-{instruction.peer}.safetensors"
    tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
    # One key: safetensors writes several in an order of its own, and equal models must make equal files.
    about = {"peer": instruction.peer, "round": instruction.round}
    data = save(tensors, metadata={"dimat_flwr": json.dumps(about)})
    write_durably(path, data)
    return partial(Final, file=f"models/{path.name}", sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
