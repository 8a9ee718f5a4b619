"""``dimat-flwr merge-lora``: merge LoRA adapters in PEFT's layout into one such adapter."""

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from dimat_flwr.cli.errors import CommandError, told_in_one_line
from dimat_flwr.cli.mixing_weights import parsed_weights

if TYPE_CHECKING:
    from dimat_flwr.merging.lora import Adapter

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
# What changes the product that an adapter adds, beyond rank and alpha.
_NOT_MERGED = ("use_dora", "alpha_pattern", "lora_bias", "fan_in_fan_out", "layer_replication")


def merge_adapters(
    adapters: list[Path],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the merged adapter; must not exist.")],
    weights: Annotated[
        str | None, typer.Option(help="Mixing weights such as 0.5,0.25,0.25; equal ones if left out.")
    ] = None,
    rank: Annotated[
        int | None, typer.Option(min=1, help="Rank of the result; the largest of the adapters' if left out.")
    ] = None,
) -> None:
    """Mix what the adapters add to the weights, factor the mix again, and tell what the rank cut off.

    ADAPTERS are two or more folders with adapter_model.safetensors and adapter_config.json.
    """
    from dimat_flwr.merging.lora import merge_lora

    with told_in_one_line():
        if output.exists():
            raise CommandError(f"{output} exists: name a folder that does not.")
        if not output.parent.is_dir():
            raise CommandError(f"cannot write {output}: the folder {output.parent} does not exist.")
        configs = [_read_config(folder) for folder in adapters]
        _check_same_base(adapters, configs)
        loaded = [_load(folder, config) for folder, config in zip(adapters, configs, strict=True)]
        merged = merge_lora(loaded, None if weights is None else parsed_weights(weights), rank)
        _save(merged.adapter, {**configs[0], "r": merged.rank, "lora_alpha": merged.rank}, output)
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"rank {merged.rank} cuts off {merged.error:.2%} of the mix (Frobenius norm)")
    console.print(f"most at {merged.worst[0]}: {merged.worst[1]:.2%}")
    console.print(f"wrote {output}")


def _read_config(folder: Path) -> dict[str, Any]:
    """Return an adapter's configuration, refusing what merging its products would not be right for."""
    for name in (CONFIG, TENSORS):
        if not (folder / name).is_file():
            raise CommandError(f"there is no {name} in {folder}: give the folder that PEFT's save_pretrained wrote.")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise CommandError(f"{folder / CONFIG} cannot be read as JSON ({error}): copy it again.") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        found = config.get("peft_type") if isinstance(config, dict) else type(config).__name__
        raise CommandError(f"{folder} is no LoRA adapter (peft_type: {found}): only those can be merged.")
    if strange := [f"{key}={config[key]}" for key in _NOT_MERGED if config.get(key)]:
        raise CommandError(f"{folder} has {', '.join(strange)}, which merging does not know: leave this adapter out.")
    alpha = config.get("lora_alpha")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise CommandError(f"{folder / CONFIG} has lora_alpha={alpha}: it must be a number, as PEFT writes it.")
    return config


def _check_same_base(folders: list[Path], configs: list[dict[str, Any]]) -> None:
    bases = [config.get("base_model_name_or_path") for config in configs]
    for folder, base in zip(folders, bases, strict=True):
        if base and bases[0] and base != bases[0]:
            raise CommandError(
                f"{folder} adapts '{base}', but {folders[0]} adapts '{bases[0]}': adapters of one base can be merged."
            )


def _load(folder: Path, config: dict[str, Any]) -> "Adapter":
    from dimat_flwr.cli.checkpoints import load_checkpoint
    from dimat_flwr.merging.lora import Adapter

    return Adapter(load_checkpoint(folder / TENSORS), config["lora_alpha"], bool(config.get("use_rslora")))


def _save(adapter: "Adapter", config: dict[str, Any], output: Path) -> None:
    """Write both files; the folder appears when it is complete."""
    from dimat_flwr.cli.checkpoints import save_checkpoint

    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as temporary:
        made = Path(temporary) / output.name
        made.mkdir()
        save_checkpoint(adapter.tensors, made / TENSORS)
        config = {**config, "use_rslora": False, "rank_pattern": {}, "alpha_pattern": {}}
        (made / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        shutil.move(made, output)
