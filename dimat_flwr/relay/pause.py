"""Sleeping between polls."""

import time

# Fast at first, for a simulation; towards a second where steps are long.
_FIRST_S, _LAST_S, _GROWTH = 0.02, 1.0, 1.3


class Pause:
    """Sleeps between polls, longer and longer while nothing happens."""

    def __init__(self) -> None:
        self._next = _FIRST_S

    def reset(self) -> None:
        """Start over with short pauses, because something happened."""
        self._next = _FIRST_S

    def sleep(self) -> None:
        """Sleep, and a little longer the next time."""
        time.sleep(self._next)
        self._next = min(self._next * _GROWTH, _LAST_S)
