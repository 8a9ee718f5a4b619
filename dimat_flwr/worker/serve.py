"""The worker: take a call, hear what it is about, work it off, answer, wait for the next one.

It ends after the run's last exchange, after an exchange that failed, when it hears of a message that is not for it,
when nothing comes for long, when its SuperNode has gone, and by SIGTERM or SIGINT at any moment. It cleans nothing up,
so that it makes no difference how it ends: see ``Place``.
"""

import os
import signal
import socket
import time
import traceback
from collections.abc import Sequence
from logging import getLogger

from flwr.app import RecordDict

from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import read_instruction
from dimat_flwr.worker.errand import Errand, Handler
from dimat_flwr.worker.errors import LineError
from dimat_flwr.worker.guard import Door, Guard
from dimat_flwr.worker.line import Line
from dimat_flwr.worker.parcel import send_records

_EXPECTING_S = 10.0  # for so long a new worker waits for who has started it
_log = getLogger("flwr")


def serve(handle: Handler, words: Sequence[str]) -> None:
    """Be a worker until it is over.

    Args:
        handle: works off a message; what loads slowly it imports itself, for nobody hears from this process before.
        words: of the command line, as ``ask`` and ``Place.start`` put them: identity, seconds to wait for a message,
            number of the SuperNode's process, descriptors of the listening socket and of the lock.
    """
    identity, idle, parent, *inherited = words
    listener, lock = map(int, inherited)
    for descriptor in (listener, lock):
        os.set_inheritable(descriptor, False)
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, signal.SIG_DFL)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    door = Door(socket.socket(fileno=listener), int(parent))
    worker = _Worker(identity, handle, door)
    while (line := door.next(float(idle))) is not None:
        with line:
            if not worker.attend(line):
                break


class _Worker:
    def __init__(self, identity: str, handle: Handler, door: Door) -> None:
        self._identity, self._handle, self._door = identity, handle, door
        self._expecting = time.monotonic() + _EXPECTING_S  # so that two who start one each do not drive it out in turn

    def attend(self, line: Line) -> bool:
        """Work off one call; return whether to wait for another one."""
        try:
            note = line.hear()
            if note["kind"] != "call":
                raise LineError(f"it begins with '{note['kind'][:50]}'")
            if note.get("identity") != self._identity:
                line.say("other")
                return time.monotonic() < self._expecting
            line.say("welcome")
            errand = Errand.receive(line)
        except LineError as error:
            _log.warning("A call to this device's worker came to nothing: %s", error)
            return True
        self._expecting = 0.0
        failure, reply = "", RecordDict()
        with Guard(line, self._door):
            try:
                reply = self._handle(*vars(errand).values())
            # Whatever it is, whoever waits for the answer is told, and tells Flower.
            except Exception:  # noqa: BLE001
                failure = traceback.format_exc()
        try:
            if failure:
                line.say("failed", text=failure)
                return False
            line.say("done")
            send_records(line, reply)
            send_records(line, errand.state)
        except LineError as error:
            _log.warning("Nobody took the answer of this device's worker: %s", error)
        return not _is_over(errand, reply)


def _is_over(errand: Errand, reply: RecordDict) -> bool:
    """Return whether nothing more is asked of this peer: the run is at its end, or the peer has failed."""
    report = reply.config_records.get(names.REPORT)
    if report is not None and (report.get("error") or report.get("problem")):
        return True
    if errand.kind != names.EXCHANGE_MESSAGE:
        return False
    return read_instruction(errand.content.config_records.get(names.INSTRUCTION)).next is None
