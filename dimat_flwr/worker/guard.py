"""What goes on beside a worker's work: signs of life to whoever waits, and the end of it if nobody waits any more."""

import os
import select
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Self

from dimat_flwr.worker.line import BEAT_S, Line

_LOOK_S = 1.0
_MOST_WAITING = 8


class Door:
    """Where calls arrive.

    Attributes:
        waiting: those that were taken while the worker worked.
    """

    def __init__(self, listener: socket.socket, parent: int) -> None:
        """Open it.

        Args:
            listener: a listening socket.
            parent: the process without which there is nothing to do: that which starts Flower's processes here.
        """
        self.listener, self._parent = listener, parent
        self.waiting: list[Line] = []

    def next(self, idle: float) -> Line | None:
        """Return the next call, or None if none comes for so many seconds, or the SuperNode has gone."""
        if self.waiting:
            return self.waiting.pop(0)
        deadline = time.monotonic() + idle
        while self.is_wanted() and (left := deadline - time.monotonic()) > 0:
            if select.select([self.listener], [], [], min(left, _LOOK_S))[0]:
                return Line(self.listener.accept()[0])
        return None

    def let_in(self) -> None:
        """Take a call that has arrived, to be heard later; one too many is turned away."""
        line = Line(self.listener.accept()[0])
        if len(self.waiting) < _MOST_WAITING:
            self.waiting.append(line)
        else:
            line.connection.close()

    def is_wanted(self) -> bool:
        """Return whether the SuperNode is still there."""
        try:
            os.kill(self._parent, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return not _is_zombie(self._parent)

    def beat(self) -> None:
        """Give those who wait a sign of life; those who have gone are forgotten."""
        for line in list(self.waiting):
            try:
                line.beat()
            except OSError:
                line.connection.close()
                self.waiting.remove(line)


def _is_zombie(process: int) -> bool:
    """Whether a process has ended and whoever started it has not asked for its exit code, which may be never.

    Only Linux says so in a file; elsewhere such a SuperNode counts as there, and the worker ends when it is idle.
    """
    try:
        about = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return False
    return about.rpartition(b")")[2].split()[:1] == [b"Z"]  # the name before it may hold anything


class Guard:
    """Watches while a message is worked on, in a thread.

    The process that Flower has started stands for the work: if it is killed, by Flower, a person or a signal, the work
    ends with it, at once, as it would without a worker. Whatever a worker is killed in, the next one goes on from a
    checkpoint.
    """

    def __init__(self, line: Line, door: Door) -> None:
        """Watch from ``with`` on.

        Args:
            line: whose errand it is.
            door: where others call meanwhile.
        """
        self._line, self._door = line, door
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()
        self._thread.join()
        self._stopped.close()

    def _watch(self) -> None:
        try:
            why = self._watch_until()
        # Work that nobody watches must not go on.
        except Exception:  # noqa: BLE001
            why = traceback.format_exc()
        if why:
            _leave(why)

    def _watch_until(self) -> str:
        """Return why the work is to end at once, nothing where it is done."""
        beaten = time.monotonic()
        while True:
            ends = [self._line.connection, self._door.listener, self._stopped]
            ready = select.select(ends, [], [], _LOOK_S)[0]
            if self._stopped in ready:
                return ""
            # It has nothing to say while it waits: what can be read is its end.
            if self._line.connection in ready:
                return "who asked for it has gone"
            if not self._door.is_wanted():
                return "the SuperNode has gone"
            if self._door.listener in ready:
                self._door.let_in()
            if time.monotonic() - beaten >= BEAT_S:
                beaten = time.monotonic()
                self._door.beat()
                with suppress(OSError):  # that it has gone is seen in the next turn
                    self._line.beat()


def _leave(why: str) -> None:
    """End this process in the midst of its work, which nothing but that can interrupt."""
    print(f"dimat_flwr worker {os.getpid()}: {why}; it ends in the midst of a message", file=sys.stderr, flush=True)
    os._exit(1)
