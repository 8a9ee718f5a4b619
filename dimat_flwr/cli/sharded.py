"""Checkpoints in several safetensors files, as Hugging Face writes them: shards, and an index of what is where.

The index is ``model.safetensors.index.json``: ``{"metadata": ..., "weight_map": {tensor's name: shard's file name}}``.
"""

import json
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from dimat_flwr.cli.errors import CommandError

INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_SHOWN = 5


def checkpoint_in(folder: Path) -> Path:
    """Return the index of a folder with shards, or its one ``model.safetensors``.

    Raises:
        CommandError: the folder has neither.
    """
    for name in (INDEX, _SINGLE):
        if (folder / name).is_file():
            return folder / name
    raise CommandError(f"the folder {folder} has neither {INDEX} nor {_SINGLE}: name the checkpoint's file.")


def load_sharded(index: Path) -> dict[str, Tensor]:
    """Read the state dict that an index describes onto the CPU.

    Raises:
        CommandError: the index is no such index, a shard is missing or damaged, or lacks tensors the index promises.
    """
    places = _weight_map(index)
    shards = sorted(set(places.values()))
    if missing := [name for name in shards if not (index.parent / name).is_file()]:
        raise CommandError(
            f"{index} names shards that are not beside it: {_listed(missing)}. Put all {len(shards)} there."
        )
    found: dict[str, Tensor] = {}
    for name in shards:
        path = index.parent / name
        try:
            tensors = safetensors.torch.load_file(path)
        except SafetensorError as error:
            raise CommandError(f"the shard {path} cannot be read ({error}): copy it again.") from error
        wanted = [tensor for tensor, place in places.items() if place == name]
        if lacking := [tensor for tensor in wanted if tensor not in tensors]:
            raise CommandError(
                f"the shard {path} lacks {_listed(lacking)}, which {index.name} says it has: take index and shards of "
                "one checkpoint."
            )
        found.update({tensor: tensors[tensor] for tensor in wanted})
    return {name: found[name] for name in places}


def _weight_map(index: Path) -> dict[str, str]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CommandError(f"{index} cannot be read as JSON ({error}): copy it again.") from error
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(place, str) for place in places.values()):
        raise CommandError(f"{index} has no weight_map from tensors' names to files: it is no index of shards.")
    if strange := [place for place in set(places.values()) if Path(place).name != place]:
        raise CommandError(f"{index} names files outside its folder: {_listed(strange)}. Shards lie beside the index.")
    return places


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
