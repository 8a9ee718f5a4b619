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
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
