"""Writing files so that a reader, a crash or a full disk meets whole lines and whole files, and one clear error."""

import os
from contextlib import suppress
from pathlib import Path

from dimat_flwr.records.errors import RecordsError

_FULL = 65_536  # characters


class LineFile:
    """A file that grows by lines, gathered in memory and handed to the system in batches.

    It is opened anew for every batch: a folder that vanished is noticed, and no handle is held through a long run.
    """

    def __init__(self, path: Path, first_line: str = "") -> None:
        """Begin the file; raises ``RecordsError`` where that cannot be done."""
        self._path = path
        self._waiting: list[str] = [first_line] if first_line else []
        self._size = 0
        self._write("".join(self._waiting).encode())
        self._waiting.clear()

    def add(self, line: str) -> None:
        """Take one line, its end included; ``flush`` hands it to the disk."""
        self._waiting.append(line)
        self._size += len(line)

    @property
    def is_full(self) -> bool:
        """Whether so much waits that it should be flushed."""
        return self._size > _FULL

    def flush(self) -> None:
        """Hand what waits to the system; raises ``RecordsError`` where that cannot be done."""
        if self._waiting:
            data = "".join(self._waiting).encode()
            self._waiting.clear()
            self._size = 0
            self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            with self._path.open("ab") as file:
                file.write(data)
        except OSError as error:
            raise unwritten(self._path, error) from error


def replace_file(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a whole file in the place of the old one, never half of it.

    Args:
        path: the file.
        data: all of it.
        durable: wait until the disk has it.

    Raises:
        RecordsError: it cannot be written; the old file is still there.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)  # half a file takes room on a disk that may have none
        raise unwritten(path, error) from error


def unwritten(path: Path, error: OSError) -> RecordsError:
    """Return the error that says which file could not be written, why, and what to do."""
    return RecordsError(f"cannot write {path}: {error.strerror}; is the disk full, or the folder gone?")
