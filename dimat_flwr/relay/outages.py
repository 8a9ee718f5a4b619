"""When the way to the SuperLink was broken: what was under way at such a moment may be lost, and nobody was late then.

Flower's ``Grid`` waits by itself until a SuperLink that was killed is there again, and tells nobody. But an
instruction that the SuperLink was handing out to a device just then is marked as delivered in its database, an answer
that the relay was fetching is deleted there, and neither is handed out a second time.
"""

import threading
import time
from collections.abc import Callable
from logging import getLogger
from typing import Any

from flwr.serverapp import Grid

# What httpx raises when nobody is there or the one who was there is gone, and what a proxy says then. A timeout is not
# among them: a SuperLink that is slow to answer loses nothing, and is not to be asked for more.
_BROKEN = {"ConnectError", "ReadError", "WriteError", "CloseError", "RemoteProtocolError"}
_BROKEN_STATUS = (502, 503)
_log = getLogger("flwr")


class Outages:
    """Counts a Grid's outages and their seconds.

    Attributes:
        count: outages that are over.
        seconds: how long they took together.
    """

    def __init__(self, grid: Grid, clock: Callable[[], float] = time.monotonic) -> None:
        """Watch a Grid. One without a SuperLink, as in a simulation, has no outages.

        Args:
            grid: Flower's way to the nodes.
            clock: returns seconds.
        """
        self.count, self.seconds = 0, 0.0
        self._clock, self._lock = clock, threading.Lock()  # the Grid pushes the objects of a message in threads
        self._began: float | None = None
        # Flower repeats a call until it succeeds, and has no public way to hear of that. A version of it that has not
        # this one either leaves what was lost to ``relay.repeat_timeout``.
        invoker = getattr(grid, "_retry_invoker", None)
        if invoker is not None:
            invoker.on_backoff = _both(invoker.on_backoff, self._failed)
            invoker.on_success = _both(invoker.on_success, self._succeeded)

    def _failed(self, state: Any) -> None:
        with self._lock:
            if self._began is None and _is_broken(state.exception):
                self._began = self._clock()

    def _succeeded(self, state: Any) -> None:
        with self._lock:
            if self._began is None:
                return
            took, self._began = self._clock() - self._began, None
            self.count += 1
            self.seconds += took
        _log.warning("the SuperLink could not be reached for %.1f s; what was under way is sent again", took)


def status_of(error: Exception | None) -> int | None:
    """Return the HTTP status with which the SuperLink or a proxy has answered, None where none did."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return None if status is None else int(status)


def _is_broken(error: Exception | None) -> bool:
    return status_of(error) in _BROKEN_STATUS or any(cls.__name__ in _BROKEN for cls in type(error).__mro__)


def _both(first: Callable[[Any], None] | None, second: Callable[[Any], None]) -> Callable[[Any], None]:
    def call(state: Any) -> None:
        if first is not None:
            first(state)
        second(state)

    return call
