"""Networks and data sets named on the command line by dotted path and ``name=value`` arguments."""

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from dimat_flwr.cli.errors import CommandError
from dimat_flwr.seeding import derive_seed
from dimat_flwr.symmetry.tracing.call import Example


def build(path: str, arguments: Sequence[str]) -> Any:
    """Call what a dotted path names.

    Args:
        path: such as ``torchvision.models.resnet18``.
        arguments: ``name=value`` each; values are read as YAML, so ``10``, ``0.5``, ``true``, ``null`` and ``[1, 2]``
            are what they look like and anything else is a text.

    Raises:
        CommandError: there is nothing of that name, or it does not take the arguments.
    """
    module_name, _, name = path.rpartition(".")
    try:
        target = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CommandError(
            f"cannot import '{path}' ({error}): give a dotted path such as torchvision.models.resnet18, "
            "importable from the folder you are in."
        ) from error
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        if not equals or not key.isidentifier():
            raise CommandError(f"'{argument}' is not an argument: write name=value, such as num_classes=10.")
    keywords: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(arguments)))
    try:
        return target(**keywords)
    except TypeError as error:
        raise CommandError(f"{path} cannot be built with {keywords}: {error}.") from error


def build_network(path: str, arguments: Sequence[str], seed: int) -> nn.Module:
    """Build a network in eval mode, with random weights drawn from the seed.

    Raises:
        CommandError: as ``build``, or what it made is not a network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, purpose="network"))
        network = build(path, arguments)
    if not isinstance(network, nn.Module):
        raise CommandError(f"{path} is not a network: it made a {type(network).__name__}, not a torch.nn.Module.")
    return network.eval()


def on_device(network: nn.Module, device: str) -> nn.Module:
    """Return the network on a device named like ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        CommandError: there is no such device on this machine, or no driver for it.
    """
    try:
        return network.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CommandError(
            f"cannot compute on device '{device}' ({reason.rstrip('.')}): leave out --device to compute on the CPU, or "
            "install the driver and a build of torch for it."
        ) from error


def example_input(inputs: str, seed: int, samples: int = 2) -> Example:
    """Return random inputs (samples, ...) for a description such as ``3,32,32``, the shape of one sample.

    Whole numbers from 0 to N - 1, such as tokens, are ``16:intN``; several inputs are parted by semicolons, and may
    have names: ``input_ids=16:int1000;attention_mask=16:int2``.

    Raises:
        CommandError: the description is not like that.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, purpose="example input"))
    parts = [part.rpartition("=") for part in inputs.split(";")]
    drawn = [_drawn(described, samples, generator) for _, _, described in parts]
    names = [name.strip() for name, _, _ in parts]
    if not any(names):
        return tuple(drawn) if len(drawn) > 1 else drawn[0]
    if not all(name.isidentifier() for name in names) or len(set(names)) < len(names):
        raise CommandError(f"'{inputs}' gives some inputs no name of their own: write name=shape for all, or for none.")
    return dict(zip(names, drawn, strict=True))


def _drawn(described: str, samples: int, generator: torch.Generator) -> Tensor:
    shape, colon, kind = described.partition(":")
    sizes = shape.split(",")
    bound = kind.strip().removeprefix("int")
    whole = kind.strip().startswith("int") and bound.isdigit() and int(bound) > 0
    if not all(size.strip().isdigit() and int(size) > 0 for size in sizes) or (colon and not whole):
        raise CommandError(
            f"'{described}' is not an input shape: write one sample's shape, such as 3,32,32, and for whole numbers "
            "below 1000 such as tokens 16:int1000."
        )
    full = (samples, *(int(size) for size in sizes))
    if whole:
        return torch.randint(int(bound), full, generator=generator)
    return torch.randn(full, generator=generator)
