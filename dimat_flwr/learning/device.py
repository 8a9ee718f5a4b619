"""Which device to compute on, and in which number format."""

import os
import re
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from dimat_flwr import nvidia
from dimat_flwr.learning.errors import DeviceError

Precision = Literal["auto", "float32", "bfloat16"]


def resolve_device(name: str) -> torch.device:
    """Return the device that a configured name means.

    Args:
        name: ``auto`` (the first CUDA device if there is one, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceError: unknown name, or no such device here.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if name == "cpu":
        return torch.device("cpu")
    named = re.fullmatch(r"cuda(?::(\d+))?", name)
    if named is None:
        raise DeviceError(f"unknown device '{name}'; use auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(named[1] or 0)
    if index >= count:
        found = f"only {count} CUDA device{'s' if count > 1 else ''}" if count else "no CUDA device"
        raise DeviceError(f"device '{name}' was asked for, but torch sees {found} here; use auto or cpu")
    return torch.device("cuda", index)


def idle_gpu(name: str) -> str:
    """Return why a GPU of this machine stays unused under a configured name; empty where none does.

    Whoever hides all GPUs from a process wants none to be used; but Flower's simulation does so by itself, through Ray.

    Args:
        name: see ``resolve_device``.
    """
    if name != "auto" or torch.cuda.is_available():
        return ""
    if nvidia.hidden():
        if not _known_to_ray():
            return ""
        return (
            "a GPU is here, but hidden from this process, which computes on the processor: put "
            "client-resources-num-gpus=0.2 into --federation-config for five workers on one, or set training.device=cpu"
        )
    if not nvidia.has_gpu():
        return ""
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "not built for CUDA"
    return (
        f"a GPU is here, but torch {torch.__version__}, {built}, does not see it and computes on the processor: "
        f"compare nvidia-smi and {nvidia.VISIBLE} with it, or set training.device=cpu"
    )


def _known_to_ray() -> bool:
    """Whether this is a process of Ray's, and Ray has a GPU to give."""
    ray = sys.modules.get("ray")  # nobody imports it but its own processes
    return ray is not None and ray.is_initialized() and ray.cluster_resources().get("GPU", 0) > 0


def compiler_fault() -> str:
    """Return why torch cannot compile networks on this machine's processor; empty where nothing is known against it.

    What it compiles to C++ needs a compiler, and to CUDA, a small launcher in C.
    """
    named = [os.environ[name] for name in ("CXX", "CC") if os.environ.get(name)]
    known = [*named, "c++", "g++", "clang++", "gcc"]
    return "" if any(shutil.which(name) for name in known) else f"no C++ compiler is here ({', '.join(known)})"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return the context to compute a forward pass in.

    Args:
        device: where the model is.
        precision: ``float32``; ``bfloat16``: the matrix products in bfloat16, weights and losses in float32;
            ``auto``: bfloat16 on CUDA devices that have it, else float32.

    Raises:
        DeviceError: this CUDA device has no bfloat16.
    """
    if precision == "float32" or (precision == "auto" and device.type != "cuda"):
        return nullcontext()
    able = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bfloat16" and not able:
        raise DeviceError(f"{torch.cuda.get_device_name(device)} has no bfloat16; set training.precision=float32")
    return torch.autocast(device.type, torch.bfloat16) if able else nullcontext()
