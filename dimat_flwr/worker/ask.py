"""The side of the process that Flower starts for a message: have it worked off by the place's worker.

It imports no torch and waits. If the worker dies or freezes in the midst of the message, a new one works it off anew,
once: what was done is in a checkpoint or was not done. If that one is lost, too, this process goes without an answer,
and Flower tells the relay what it tells of every process that has died, so that it asks again later.
"""

import os
import subprocess
import sys
import time
from logging import getLogger
from pathlib import Path

from flwr.app import Context, RecordDict

from dimat_flwr.worker.errand import Errand
from dimat_flwr.worker.errors import LineError, NoWorkerError, SilentError, WorkerError
from dimat_flwr.worker.identity import identity
from dimat_flwr.worker.idle import worker_idle
from dimat_flwr.worker.line import SILENCE_S, Line, is_possible
from dimat_flwr.worker.parcel import receive_records
from dimat_flwr.worker.place import Place

_MODULE = "apps.worker"
_TRIES = 2
_TURN_S = 0.05
_STATE_DIR, _PLACE = "state-dir", "partition-id"
_INSTALLS = "--allow-runtime-dependency-installation"  # of Flower's process: into a folder that ends with the process
_log = getLogger("flwr")


def ask(kind: str, content: RecordDict, context: Context, app_dir: Path) -> tuple[RecordDict, RecordDict] | None:
    """Return what the worker answers and the state that it leaves; None where this device has no worker.

    Args:
        kind: of the message.
        content: its records.
        context: Flower's; it is not changed.
        app_dir: the folder of the app as Flower has installed it.

    Raises:
        WorkerError: the worker failed otherwise than in the message's own work.
    """
    try:
        idle = worker_idle(context.node_config)
    except ValueError:  # it is refused in the setup, where the relay hears of it
        return None
    if _STATE_DIR not in context.node_config or not idle:
        return None
    errand = Errand(kind, content, context.state, context.run_config, context.node_config, app_dir / "conf")
    try:
        _require_possible()
        name = str(context.node_config.get(_PLACE, f"node-{context.node_id}"))
        place = Place(Path(str(context.node_config[_STATE_DIR])), name)
        return Applicant(place, identity(context, app_dir), idle).have_done(errand)
    except NoWorkerError as error:
        _log.warning("This message is worked off without a worker, which costs some seconds more: %s", error)
        return None
    except LineError as error:
        _log.error(
            "No worker lives through this message: %s. Flower will miss this process, and the relay ask again", error
        )
        sys.stderr.flush()
        os._exit(1)  # an exception would be an answer, by which the peer has failed for the rest of the run


def _require_possible() -> None:
    if not is_possible():
        raise NoWorkerError("this platform has no sockets between processes")
    if _INSTALLS in sys.argv:
        raise NoWorkerError(f"with {_INSTALLS} Flower removes what it has installed after each message")


class Applicant:
    """Who has something done by a place's worker."""

    def __init__(
        self, place: Place, identity: str, idle: float, module: str = _MODULE, silence: float = SILENCE_S
    ) -> None:
        """Name the worker; nothing is started yet.

        Args:
            place: where it is.
            identity: what it must have been started with.
            idle: seconds after which one that is started here ends by itself.
            module: what such a one runs.
            silence: seconds without a sign of life after which it is killed.
        """
        self._place, self._identity, self._idle = place, identity, idle
        self._module, self._silence = module, silence
        self._started: subprocess.Popen[bytes] | None = None

    def have_done(self, errand: Errand) -> tuple[RecordDict, RecordDict]:
        """Return the answer and the state that it leaves.

        Raises:
            NoWorkerError: there is no worker, and none can be started or comes up; nothing was done.
            LineError: two workers were lost over it.
            WorkerError: the worker said that it failed.
        """
        for left in reversed(range(_TRIES)):
            with self._admitted() as line:
                try:
                    errand.send(line)
                    note = line.hear()
                    if note["kind"] == "done":
                        return receive_records(line), receive_records(line)
                    if note["kind"] == "failed":
                        raise WorkerError(str(note.get("text")))
                    raise LineError(f"it answers '{note['kind'][:50]}'")
                except LineError as error:
                    self._end_if_silent(error)
                    if not left:
                        raise
                    _log.warning("The worker was lost in the midst of a message (%s); another one does it anew", error)
        raise AssertionError("unreachable")

    def _admitted(self) -> Line:
        """Return a line to a worker that takes an errand, which is started where there is none.

        One that works on something else is waited for. One that was started with something else ends when it has
        nothing to do, which is when it hears of this one.
        """
        deadline = time.monotonic() + self._silence
        while time.monotonic() < deadline:
            connection = self._place.call()
            if connection is None:
                self._start()
            else:
                line = Line(connection, self._silence)
                try:
                    line.say("call", identity=self._identity)
                    if line.hear()["kind"] == "welcome":
                        self._started = None
                        return line
                    deadline = time.monotonic() + self._silence  # it was busy until now
                except SilentError as error:
                    is_mine = self._started is not None and self._started.poll() is None
                    self._end_if_silent(error)
                    if is_mine:  # the next one would not be faster
                        raise NoWorkerError(f"it gave no sign of life within {self._silence:g} s") from error
                    deadline = time.monotonic() + self._silence
                except LineError:  # it has ended, or is about to
                    pass
                connection.close()
            time.sleep(_TURN_S)
        raise LineError(f"no worker could be started or reached within {self._silence:g} s")

    def _start(self) -> None:
        # One that was killed, or ended in good order because another one called first, says nothing about the next.
        if self._started is not None and (self._started.poll() or 0) > 0:
            raise NoWorkerError(f"it ended with exit code {self._started.returncode} before it answered")
        words = (self._identity, f"{self._idle:g}", str(os.getppid()))
        self._started = self._place.start(self._module, words) or self._started

    def _end_if_silent(self, error: LineError) -> None:
        """Kill a worker that does not move: it must not go on when another one has begun."""
        if isinstance(error, SilentError):
            _log.warning("The worker gives no sign of life; it is killed")
            if self._started is not None:  # it may not have come so far as to write its number down
                self._started.kill()
                self._started.wait()
                self._started = None
            self._place.end()
