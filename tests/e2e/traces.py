"""Searching what a SuperLink keeps on its disk for the bytes of peers' models."""

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

if TYPE_CHECKING:
    from tests.e2e.federation import Federation

WINDOW = 16  # bytes
_DISTINCT = 8  # different bytes that a window must have: runs of zeros and ones are everywhere
_BLOCK, _BLOCKS_AT_ONCE = 4096, 1024
_ODD, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(40)


class Traces:
    """Models that peers had during a run, and all that lay in the SuperLink's folder meanwhile.

    Once a second, what has changed is read: the models that the devices save, one after each exchange, and the
    SuperLink's files, its database with the write-ahead log, its Flower home and the run's record included.
    """

    def __init__(self, parts: "Federation") -> None:
        """Look at a federation; nothing is read yet."""
        self._parts = parts
        self._models: set[bytes] = set()
        self._blocks: dict[str, set[bytes]] = {}  # what lay in a file at any time
        self._known: dict[Path, tuple[int, int]] = {}

    def follow(self) -> None:
        """Gather until ``search``, beside whatever else happens."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._gather, daemon=True)
        self._thread.start()

    def search(self) -> tuple[int, dict[str, int]]:
        """Return how many windows of models were looked for, and how many of them each file had that had any."""
        self._ended.set()
        self._thread.join()
        self._look()
        needles = windows_of(self._models)
        found = {file: count_in(needles, blocks) for file, blocks in self._blocks.items()}
        return len(needles), {file: count for file, count in sorted(found.items()) if count}

    def _gather(self) -> None:
        while not self._ended.is_set():
            self._look()
            time.sleep(1)

    def _look(self) -> None:
        for device in range(self._parts.devices):
            for path in self._parts.disk(device).rglob("models/peer-*.safetensors"):
                if data := self._changed(path):
                    self._models.add(data)
        own = self._parts.home / "superlink"
        for path in own.rglob("*"):
            if data := self._changed(path):
                blocks = self._blocks.setdefault(str(path.relative_to(own)), set())
                blocks.update(data[start : start + _BLOCK] for start in range(0, len(data), _BLOCK))

    def _changed(self, path: Path) -> bytes:
        with suppress(OSError):  # it may have been removed since
            if path.is_file():
                stat = path.stat()
                now = (stat.st_mtime_ns, stat.st_size)
                if self._known.get(path) != now:
                    self._known[path] = now
                    return path.read_bytes()
        return b""


def windows_of(models: Iterable[bytes]) -> NDArray[np.void]:
    """Return every window of ``WINDOW`` bytes that begins at a number of a tensor, sorted, each once.

    Windows with few different bytes are left out: they would be found in anything.

    Args:
        models: files in the safetensors format.
    """
    found = [np.empty(0, dtype=f"V{WINDOW}")]
    for model in models:
        try:
            tensors: dict[str, NDArray[Any]] = load(model)
        except SafetensorError:
            continue  # not a whole file
        for tensor in tensors.values():
            data, step = np.frombuffer(tensor.tobytes(), dtype=np.uint8), tensor.dtype.itemsize
            if len(data) >= WINDOW:
                windows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(data, WINDOW)[::step])
                distinct = 1 + np.count_nonzero(np.diff(np.sort(windows, axis=1), axis=1), axis=1)
                found.append(windows[distinct >= _DISTINCT].view(f"V{WINDOW}").ravel())
    return np.unique(np.concatenate(found).view("S16")).view(f"V{WINDOW}")


def count_in(needles: NDArray[np.void], blocks: Iterable[bytes]) -> int:
    """Return how many of the needles stand somewhere in the blocks, at whatever byte they begin."""
    if not len(needles):
        return 0
    looked_for = {bytes(needle) for needle in needles}
    table = np.zeros(1 << 24, dtype=bool)
    halves = needles.view("<u8").reshape(-1, 2)
    table[_key(halves[:, 0], halves[:, 1]) >> _SHIFT] = True
    found: set[bytes] = set()
    waiting = list(blocks)
    for start in range(0, len(waiting), _BLOCKS_AT_ONCE):
        data = b"".join(waiting[start : start + _BLOCKS_AT_ONCE])
        if len(data) < WINDOW:
            continue
        at = np.ndarray((len(data) - 7,), dtype="<u8", buffer=data, strides=(1,))
        for place in np.flatnonzero(table[_key(at[:-8], at[8:]) >> _SHIFT]):
            window = data[place : place + WINDOW]
            if window in looked_for:
                found.add(window)
    return len(found)


def _key(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return (first ^ (second << np.uint64(1))) * _ODD
