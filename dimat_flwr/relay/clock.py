"""Time, and how long to sleep before looking for replies again."""

import time
from collections.abc import Callable
from typing import Protocol

from dimat_flwr.relay.post import Post


class Clock(Protocol):
    """A clock to read and to sleep by; tests have their own."""

    def now(self) -> float:
        """Return seconds since some fixed moment."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


class SystemClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """See ``Clock``."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """See ``Clock``."""
        time.sleep(seconds)


class ReachableTime:
    """A clock that stands still while nobody can be reached: an outage makes no peer late, or given up."""

    def __init__(self, clock: Clock, post: Post) -> None:
        self._clock, self._post = clock, post

    def now(self) -> float:
        """See ``Clock``."""
        return self._clock.now() - self._post.out_of_reach

    def sleep(self, seconds: float) -> None:
        """See ``Clock``."""
        self._clock.sleep(seconds)


class SignOfLife:
    """Says what is waited for, again and again while that takes long."""

    _EVERY_S = 30.0

    def __init__(self, now: float, say: Callable[[str], None]) -> None:
        """Begin to wait; ``say`` prints one line."""
        self._said, self._say = now, say

    def waiting(self, now: float, what: Callable[[], str]) -> None:
        """Say so, if nothing was said for a while; ``what`` is asked only then."""
        if now - self._said >= self._EVERY_S:
            self._say(what())
            self._said = now


class Pause:
    """How long to sleep while no reply is there: a small share of the time it has been quiet.

    So the wait that looking now and then adds to an exchange is a few percent of it, whether it takes milliseconds or
    hours; and looking itself, which takes a processor that peers may need, takes a small share of the time too.
    """

    _SHARE, _SHORTEST_S, _LONGEST_S, _PER_LOOK = 0.04, 0.001, 0.5, 4

    def __init__(self, now: float) -> None:
        self._quiet_since = now

    def reset(self, now: float) -> None:
        """A reply came."""
        self._quiet_since = now

    def seconds(self, now: float, looking: float) -> float:
        """Return how long to sleep.

        Args:
            now: the time.
            looking: the seconds that the last look took.
        """
        wanted = max(self._SHARE * (now - self._quiet_since), self._PER_LOOK * looking, self._SHORTEST_S)
        return min(wanted, self._LONGEST_S)
