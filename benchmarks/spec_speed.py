"""How long specifications take: found, proven, read from disk.

Run from the repository's root: ``python benchmarks/spec_speed.py``; GPT-2 small only where ``transformers`` is there.
"""

import importlib.util
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from dimat_flwr.symmetry import cached_permutation_spec, find_permutation_spec
from dimat_flwr.symmetry.proving.prove import Prover
from dimat_flwr.symmetry.tracing.call import Call


def networks() -> dict[str, tuple[nn.Module, Any]]:
    """Return the networks with an example each."""
    found: dict[str, tuple[nn.Module, Any]] = {
        "resnet50": (torchvision.models.resnet50(weights=None), torch.randn(2, 3, 64, 64)),
        "vit_b_16": (torchvision.models.vit_b_16(weights=None), torch.randn(1, 3, 224, 224)),
    }
    if importlib.util.find_spec("transformers"):
        from transformers import GPT2Config, GPT2LMHeadModel

        found["gpt2"] = GPT2LMHeadModel(GPT2Config(use_cache=False)), {"input_ids": torch.randint(0, 1000, (2, 16))}
    return found


def main() -> None:
    """Print one line per network."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    find_permutation_spec(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)), torch.randn(2, 2))  # imports
    for name, (model, example) in networks().items():
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            spec = find_permutation_spec(model, example, prove=False)
            found = time.perf_counter() - started
            prover = Prover(model, Call.to(model, example))
            error = max(prover.departure(spec.traced.program), prover.largest_change(spec))
            blind, again = prover.unshown(spec)
            proven = time.perf_counter() - started - found
            cached_permutation_spec(model, example, Path(folder))
            started = time.perf_counter()
            cached_permutation_spec(model, example, Path(folder))
            read = time.perf_counter() - started
        print(
            f"{name}: found in {found:.2f} s, proven in {proven:.2f} s and {prover.passes} forward passes (error "
            f"{error:.0e}, unseen {len(blind)}, again {again}), read in {1000 * read:.0f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
