"""A line between two processes: frames on a stream socket, each its length (8 bytes, big-endian) and so many bytes.

A frame is either a note, a JSON object with a ``kind``, or plain bytes that a note has announced. Nothing is ever
unpickled. The other end is alive as long as it sends anything: one that works for long sends a note ``beat`` now and
then, which ``hear`` passes over.
"""

import json
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self, TypeVar

from dimat_flwr.worker.errors import LineError, SilentError

BEAT = "beat"
BEAT_S = 5.0  # between two signs of life
SILENCE_S = 60.0  # without any, the other end is frozen: as long as Flower waits for one
MOST_BYTES = 1 << 40  # of a frame of plain bytes; memory is taken as they come, not as they are announced
_MOST_NOTE_BYTES = 64_000_000  # an override may name every one of 100,000 peers
_LENGTH, _PIECE = 8, 1 << 20
_TURNS = 12

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


class Line:
    """One end of a line."""

    def __init__(self, connection: socket.socket, silence: float = SILENCE_S) -> None:
        """Take over a connected socket.

        Args:
            connection: it is closed with the line.
            silence: seconds without a byte after which the other end is given up.
        """
        self.connection, self._silence = connection, silence
        # In turns: a process that was frozen itself, for hours perhaps, takes that for one turn of silence.
        connection.settimeout(silence / _TURNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def say(self, kind: str, **fields: Any) -> None:
        """Send a note; raises ``LineError``."""
        self.send(json.dumps({"kind": kind, **fields}).encode())

    def hear(self) -> dict[str, Any]:
        """Return the next note that is no sign of life only.

        Raises:
            LineError: what came is no note, or nothing came.
        """
        while True:
            try:
                note = json.loads(self.receive(_MOST_NOTE_BYTES))
            except (ValueError, RecursionError) as error:
                raise LineError(f"what came is not JSON: {error}") from error
            if not isinstance(note, dict) or type(note.get("kind")) is not str:
                raise LineError("what came is no note")
            if note["kind"] != BEAT:
                return note

    def send(self, data: bytes) -> None:
        """Send a frame; raises ``LineError``."""
        for part in (len(data).to_bytes(_LENGTH, "big"), data):
            rest = memoryview(part)
            while rest:
                rest = rest[self._patiently(self.connection.send, rest[:_PIECE]) :]

    def receive(self, most: int = MOST_BYTES) -> bytes:
        """Return the next frame.

        Raises:
            LineError: the other end has gone, or announces more than ``most`` bytes.
        """
        size = int.from_bytes(self._receive(_LENGTH), "big")
        if size > most:
            raise LineError(f"a frame of {size:,} bytes, where {most:,} are the most")
        return self._receive(size)

    def beat(self) -> None:
        """Send a sign of life if the other end takes it now; raises ``OSError`` where it has gone.

        Only for who sends nothing else at the same time. It is so short that a socket takes all of it or nothing.
        """
        note = json.dumps({"kind": BEAT}).encode()
        with suppress(BlockingIOError):
            self.connection.send(len(note).to_bytes(_LENGTH, "big") + note, socket.MSG_DONTWAIT)

    def _receive(self, size: int) -> bytes:
        pieces = []
        while size:
            piece = self._patiently(self.connection.recv, min(size, _PIECE))
            if not piece:
                raise LineError("the other end has gone")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _patiently(self, act: Callable[[_Argument], _Result], argument: _Argument) -> _Result:
        for _ in range(_TURNS):
            try:
                return act(argument)
            except TimeoutError:
                continue
            except OSError as error:
                raise LineError(f"the other end has gone: {error.strerror}") from error
        raise SilentError(f"no sign of life for {self._silence:g} s")


def is_possible() -> bool:
    """Return whether this platform has what a line between processes needs; Windows has not."""
    return sys.platform != "win32"
