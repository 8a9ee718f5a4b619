"""What a peer keeps on its own disk after each exchange, so that whatever is killed, it goes on where it was.

One file per exchange, ``peer-<i>-<number>.checkpoint``, holds the peer's state and the reply with which it told of the
exchange: SHA-256 of the rest (32 bytes), the length of a JSON header (8 bytes, little-endian), the header, and the
blobs that it names one after the other. A file is written under another name, forced to the disk and then renamed, so a
kill at any moment leaves the old ones as they were. The last two are kept: where the newer is damaged, or tells of an
exchange that the relay has no answer to, the older one is what was before it. Older ones are kept for as long as the
relay says that a reader may need what was published with them, should the whole run be gone on with.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from dimat_flwr.peer.durable import write_durably
from dimat_flwr.peer.state import PeerState, pack_state, unpack_state
from dimat_flwr.wire.blob import from_record, to_record

_KEPT = 2
_DIGEST, _LENGTH = 32, 8
_STATE = "state"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written; the exchange is done all the same."""


@dataclass(frozen=True)
class Checkpoint:
    """A peer after an exchange.

    Attributes:
        number: the exchange's place in the run.
        state: what the peer kept.
        reply: what it answered.
        keep: earlier exchanges whose checkpoints may still be needed.
    """

    number: int
    state: PeerState
    reply: RecordDict
    keep: tuple[int, ...] = ()


class CheckpointFolder:
    """The checkpoints of one peer of one run.

    Attributes:
        damaged: files that were met and could not be used, for a warning.
    """

    def __init__(self, folder: Path, run: str, peer: int) -> None:
        """Name the folder; nothing is made before something is saved.

        Args:
            folder: of all peers' checkpoints of the run on this machine.
            run: the run's name: a checkpoint of another one is not taken for one of this.
            peer: the peer's index.
        """
        self._folder, self._run, self._peer = folder, run, peer
        self.damaged: list[str] = []

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, and remove all but the last two and those that it says to keep.

        Raises:
            CheckpointError: the disk does not take it; those before it are still there.
        """
        try:
            write_durably(self._path(checkpoint.number), _encode(self._about(checkpoint.number), checkpoint))
            for number in self._numbers()[_KEPT:]:
                if number not in checkpoint.keep:
                    self._path(number).unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"no checkpoint after exchange {checkpoint.number} in {self._folder}: {error.strerror}"
            ) from error

    def at(self, number: int) -> Checkpoint | None:
        """Return the checkpoint of just this exchange; None where there is none that can be read."""
        return next(self._readable([number] if self._path(number).exists() else []), None)

    def find(self, at_most: int) -> Checkpoint | None:
        """Return the newest checkpoint that can be read of an exchange up to a number; None where there is none."""
        return next(self._readable(number for number in self._numbers() if number <= at_most), None)

    def newest(self) -> Checkpoint | None:
        """Return the newest that can be read; None where there is none."""
        return next(self._readable(self._numbers()), None)

    def survey(self) -> tuple[list[int], list[int], PeerState | None]:
        """Return the exchanges that there are checkpoints of, those of which one is damaged or missing, and the newest.

        Returns:
            Both ascending; the state in the newest, None where there is none.
        """
        numbers, kept, newest = self._numbers(), set(), None
        expected = set(numbers)
        for found in self._readable(numbers):
            if newest is None:
                newest = found.state
                expected |= set(found.keep)
            kept.add(found.number)
        return sorted(kept), sorted(expected - kept), newest

    def forget_after(self, number: int) -> None:
        """Remove the checkpoints of all later exchanges; raises ``OSError`` where that cannot be done."""
        for later in self._numbers():
            if later > number:
                self._path(later).unlink(missing_ok=True)

    def _readable(self, numbers: Iterable[int]) -> Iterator[Checkpoint]:
        for number in numbers:
            try:
                yield _decode(self._path(number).read_bytes(), self._about(number))
            except (OSError, ValueError) as error:
                self.damaged.append(f"{self._path(number)}: {error}")

    def _about(self, number: int) -> dict[str, Any]:
        return {"run": self._run, "peer": self._peer, "number": number}

    def _path(self, number: int) -> Path:
        return self._folder / f"peer-{self._peer}-{number:08}.checkpoint"

    def _numbers(self) -> list[int]:
        """Return the exchanges that there are files of, the last first."""
        pattern = re.compile(rf"peer-{self._peer}-(\d{{8,}})\.checkpoint")
        found = (pattern.fullmatch(path.name) for path in self._folder.glob(f"peer-{self._peer}-*.checkpoint"))
        return sorted((int(match[1]) for match in found if match), reverse=True)


def _encode(about: Mapping[str, Any], checkpoint: Checkpoint) -> bytes:
    state, facts = pack_state(checkpoint.state)
    blobs = {_STATE: state}
    records: dict[str, Any] = {}
    for name, record in checkpoint.reply.items():
        if isinstance(record, ArrayRecord):
            blobs[name] = from_record(record)
        else:
            records[name] = {key: _to_json(value) for key, value in record.items()}
    sizes = {name: len(blob) for name, blob in blobs.items()}
    keep = {"keep": list(checkpoint.keep)}
    header = json.dumps({**about, **keep, "facts": facts, "records": records, "sizes": sizes}).encode()
    body = b"".join([len(header).to_bytes(_LENGTH, "little"), header, *blobs.values()])
    return hashlib.sha256(body).digest() + body


def _decode(data: bytes, about: Mapping[str, Any]) -> Checkpoint:
    """Read a checkpoint; raises ``ValueError`` where it is damaged or of something else."""
    body = memoryview(data)[_DIGEST:]
    if len(data) < _DIGEST + _LENGTH or hashlib.sha256(body).digest() != data[:_DIGEST]:
        raise ValueError("it is damaged")
    start = _LENGTH + int.from_bytes(body[:_LENGTH], "little")
    header = json.loads(bytes(body[_LENGTH:start]))
    try:
        return _unpack(header, body, start, about)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"another version of dimat-flwr has written it ({type(error).__name__}: {error})") from error


def _unpack(header: Any, body: memoryview, start: int, about: Mapping[str, Any]) -> Checkpoint:
    if {name: header[name] for name in about} != about:
        raise ValueError("it is of another run")
    blobs = {}
    for name, size in header["sizes"].items():
        blobs[name] = bytes(body[start : start + size])
        start += size
    reply = RecordDict(
        {name: ConfigRecord({k: _from_json(v) for k, v in found.items()}) for name, found in header["records"].items()}
    )
    for name, blob in blobs.items():
        if name != _STATE:
            reply[name] = to_record(blob)
    return Checkpoint(header["number"], unpack_state(blobs[_STATE], header["facts"]), reply, tuple(header["keep"]))


def _to_json(value: Any) -> Any:
    """Return a value of a ``ConfigRecord`` as JSON can hold it; an object stands for bytes, which JSON cannot."""
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _from_json(value: Any) -> Any:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value
