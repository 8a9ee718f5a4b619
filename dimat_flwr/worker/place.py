"""Where a device's worker is found: a folder in its ``state-dir`` that nobody else may look into, a socket and a lock.

The lock (``flock``) is held from before a worker is started until it has ended, however it ends, so there is never a
second one; the kernel lets go of it. The socket is made by who starts the worker, and inherited: whoever calls waits
from then on, also while Python starts. A socket whose worker has gone refuses calls, and the next start replaces it.
"""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dimat_flwr.worker.errors import NoWorkerError

_SOCKET, _LOCK = "socket", "lock"
_LONGEST = 100  # bytes of a socket's path: Linux takes 107, macOS 103
_WAITING = 8  # calls
_DYING_S = 10.0


class Place:
    """The folder of one device's worker."""

    def __init__(self, state_dir: Path, name: str) -> None:
        """Make the folder.

        Args:
            state_dir: the device's own.
            name: which of the devices that share it; no run is called like that.

        Raises:
            NoWorkerError: there is no such folder that only this user may enter.
        """
        self._folder = state_dir.expanduser().absolute() / f".worker-{name}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._folder.lstat()
        except OSError as error:
            raise NoWorkerError(f"{self._folder} cannot be made: {error.strerror}") from error
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise NoWorkerError(f"{self._folder} is not a folder of this user alone (mode 0700); remove it")

    def call(self) -> socket.socket | None:
        """Return a connection to the worker, who need not have taken it yet; None where there is no worker."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            with self._address() as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        except OSError as error:
            connection.close()
            raise NoWorkerError(f"no call to {self._folder / _SOCKET}: {error.strerror}") from error
        return connection

    def start(self, module: str, words: Sequence[str]) -> "subprocess.Popen[bytes] | None":
        """Start a worker, unless there is one, or one that is starting or ending: then return None.

        Args:
            module: what Python is to run; it calls ``serve``.
            words: its arguments; the descriptors of socket and lock follow them.

        Raises:
            NoWorkerError: it cannot be started.
        """
        try:
            with self._lock() as (lock, is_free):
                if not is_free:
                    return None
                os.ftruncate(lock, 0)  # the worker writes its own number here
                with self._address() as address, socket.socket(socket.AF_UNIX) as listener:
                    with suppress(FileNotFoundError):
                        os.unlink(address)
                    listener.bind(address)
                    listener.listen(_WAITING)
                    inherited = (listener.fileno(), lock)
                    command = [sys.executable, "-P", "-m", module, *words, *map(str, inherited)]
                    # What it says goes where this process' own words go: to the log of the SuperNode.
                    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=_environment(), pass_fds=inherited)
        except OSError as error:
            raise NoWorkerError(f"no worker can be started in {self._folder}: {error.strerror}") from error

    def end(self) -> None:
        """Kill the worker, if there is one, and wait until it has gone; where it does not go, it stays.

        Raises:
            NoWorkerError: the folder is gone, or the worker is another user's.
        """
        try:
            self._end()
        except OSError as error:
            raise NoWorkerError(f"the worker in {self._folder} cannot be ended: {error.strerror}") from error

    def _end(self) -> None:
        deadline = time.monotonic() + _DYING_S
        with self._lock() as (lock, is_free):
            number = os.pread(lock, 20, 0)
        if is_free or not number.isdigit():
            return
        with suppress(ProcessLookupError):  # the lock is held: this is its number and no other process'
            os.kill(int(number), signal.SIGKILL)
        while not is_free and time.monotonic() < deadline:
            time.sleep(0.05)
            with self._lock() as (_, is_free):
                pass

    @contextmanager
    def _lock(self) -> Iterator[tuple[int, bool]]:
        """Take the lock, if it is free, for as long as this or a process that inherits it has it open."""
        import fcntl  # not on Windows

        lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield lock, False
            else:
                yield lock, True
        finally:
            os.close(lock)

    @contextmanager
    def _address(self) -> Iterator[str]:
        """Name the socket so that it is not too long for one."""
        path = str(self._folder / _SOCKET)
        if len(os.fsencode(path)) <= _LONGEST:
            yield path
            return
        if not Path("/proc/self/fd").is_dir():
            raise NoWorkerError(f"{path} has more than {_LONGEST} bytes; take a shorter state-dir")
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{folder}/{_SOCKET}"
        finally:
            os.close(folder)


def _environment() -> Mapping[str, str]:
    """Return the environment in which Python imports from the same folders in the same order as here."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
