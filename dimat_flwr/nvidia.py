"""Whether an NVIDIA GPU is in this machine, without asking torch, which takes seconds to import."""

import os
import shutil

VISIBLE = "CUDA_VISIBLE_DEVICES"


def has_driver() -> bool:
    """Return whether the driver is installed, which says nothing of what this process may use."""
    return shutil.which("nvidia-smi") is not None or os.path.exists("/dev/nvidiactl")


def hidden() -> bool:
    """Return whether this process is kept from all GPUs."""
    return os.environ.get(VISIBLE, "0") in ("", "-1")
