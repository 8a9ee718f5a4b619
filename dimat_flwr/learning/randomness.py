"""The randomness inside a network, such as dropout's, which draws from torch's global generators."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for a while and restore those of the CPU and of ``device`` afterwards.

    Args:
        seed: 0 <= seed < 2**63.
        device: where the network is.
    """
    own = _generators(device)
    before = [generator.get_state() for generator in own]
    try:
        reseed(seed, device)
        yield
    finally:
        for generator, state in zip(own, before, strict=True):
            generator.set_state(state)


def reseed(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of ``device``; within ``seeded``, which restores them.

    Only these two, where ``torch.manual_seed`` asks every kind of device that torch knows, ten times as long.
    """
    for generator in _generators(device):
        generator.manual_seed(seed)


def _generators(device: torch.device) -> list[torch.Generator]:
    if device.type != "cuda":
        return [torch.default_generator]
    torch.cuda.init()  # type: ignore[no-untyped-call]  # does nothing where somebody has; before it there are none
    index = torch.cuda.current_device() if device.index is None else device.index
    return [torch.default_generator, torch.cuda.default_generators[index]]
