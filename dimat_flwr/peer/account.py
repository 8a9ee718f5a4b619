"""What private training has told of a device's samples in a run: an account that outlives everything else kept of it.

A peer's state has its private steps, and so have its checkpoints. But a device goes back to earlier checkpoints when a
run is gone on with, comes anew into a place without any, or finds the newest damaged, and what it has published cannot
be taken back. So the account has a file of its own, ``peer-<place>.account``, which never shrinks and is written before
anything that knows more is removed: JSON behind its own SHA-256, written as a checkpoint is. It belongs to the samples:
a device that is given another place each time it comes (no ``partition-id``) counts on from whatever it finds.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from dimat_flwr.events import Privacy
from dimat_flwr.learning import Spent, epsilon, steps_taken
from dimat_flwr.peer.durable import write_durably

_DIGEST = 64  # characters
_ROOM = 4096 - _DIGEST  # of a file, so that a longer account fits into the blocks of a shorter one


class Account:
    """The account of one peer in one run.

    Attributes:
        damaged: files that were met and could not be used, for a warning.
    """

    def __init__(self, folder: Path, run: str, peer: int, *, has_place: bool) -> None:
        """Name the file; nothing is made before something is kept.

        Args:
            folder: of the run's accounts on this machine.
            run: the run's name: an account of another one is not taken for one of this.
            peer: the peer's index.
            has_place: whether the device is always in that place, so that other files are other devices'.
        """
        self._folder, self._run, self._has_place = folder, run, has_place
        self._path = folder / f"peer-{peer}.account"
        self.damaged: list[str] = []

    def read(self) -> Spent:
        """Return the private steps that are written down; none where there is no file that can be read."""
        return max(self._found(), key=steps_taken, default=[])

    def keep(self, spent: Spent) -> None:
        """Write the steps down, if they are more than what is written there.

        Raises:
            OSError: the disk does not take it.
        """
        if steps_taken(spent) <= steps_taken(self._read(self._path)):
            return
        text = json.dumps({"run": self._run, "spent": spent}).ljust(_ROOM)
        data = f"{_digest(text)}{text}".encode()
        try:
            write_durably(self._path, data)
        except OSError:  # a full disk still has the room that the account takes up
            self._overwrite(data)

    def _overwrite(self, data: bytes) -> None:
        """Write where the old account is: a power cut may tear it, but no kill does."""
        with self._path.open("r+b") as file:
            file.write(data)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())

    def _found(self) -> Iterator[Spent]:
        for path in [self._path] if self._has_place else sorted(self._folder.glob("peer-*.account")):
            yield self._read(path)

    def _read(self, path: Path) -> Spent:
        try:
            data = path.read_text(encoding="utf-8")
            text = data[_DIGEST:]
            if _digest(text) != data[:_DIGEST]:
                raise ValueError("it is damaged")
            found = json.loads(text)
            return [(sigma, rate, steps) for sigma, rate, steps in found["spent"]] if found["run"] == self._run else []
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            self.damaged.append(f"{path}: {error}")
        except (LookupError, TypeError, AttributeError) as error:
            self.damaged.append(f"{path}: another version of dimat-flwr has written it ({error})")
        return []


def told_of(spent: Spent, delta: float) -> Privacy:
    """Return what private steps have told of each own sample, for a delta in (0, 1)."""
    return Privacy(epsilon=epsilon(spent, delta), delta=delta, steps=steps_taken(spent))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
