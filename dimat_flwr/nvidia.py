"""Whether an NVIDIA GPU is in this machine, without asking torch, which takes seconds to import."""

import os
import shutil
import subprocess
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
_DEVICES = Path("/dev")
_PATIENCE_S = 10.0  # for a driver that hangs


def has_gpu() -> bool:
    """Return whether there is one; that says nothing of what this process may use.

    The driver's program alone is no sign: it lies in many images of containers. It is asked where there are no device
    files, as under Windows.
    """
    if any(_DEVICES.glob("nvidia[0-9]*")):
        return True
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        said = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return said.returncode == 0 and said.stdout.startswith("GPU ")


def hidden() -> bool:
    """Return whether this process is kept from all GPUs: CUDA takes those that are named before the first bad name."""
    return os.environ.get(VISIBLE, "0").split(",")[0].strip() in ("", "-1", "NoDevFiles")
