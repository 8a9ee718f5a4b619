"""Writing a small file so that a kill at any moment leaves the old one or the new one, and never half of one."""

import glob
import os
from pathlib import Path


def write_durably(path: Path, data: bytes) -> None:
    """Write a file under another name, force it to the disk and rename it; raises ``OSError`` where that fails."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # What a killed process has left, or one that is killed again and again fills the disk.
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        left.unlink(missing_ok=True)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename last; a folder cannot be opened like this on Windows, where it need not be."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
