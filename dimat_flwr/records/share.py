"""Each peer's share of the record, so that no peer can fill the relay's disk by talking."""

from collections import Counter

from dimat_flwr.events import (
    Absent,
    Away,
    CaughtUp,
    Evaluation,
    Event,
    Failure,
    Final,
    Joined,
    Late,
    Muted,
    Observed,
    Redrawn,
    Resumed,
    Returned,
    Training,
    Unobserved,
    Vacant,
)

_LEAST = 900_000  # bytes
_PER_EXCHANGE = 2_000
_LAST_WORDS = 4_000  # beyond the share, for what a peer ends with
_ALWAYS = (Absent, CaughtUp, Failure, Joined, Late, Muted, Redrawn, Resumed, Unobserved, Vacant)


class Shares:
    """Counts the bytes of every peer's lines.

    What an algorithm tells of its merges may take half of a share, so that it cannot crowd out losses and accuracies.
    What instruments tell has a share of its own, as large as that half, so that it cannot crowd out anything of a run;
    so has that a peer was away and came back, which the relay says as often as the peer makes it. All else that the
    relay says of a peer is always written, for a run is gone on with by it: that it failed, came, or was muted, few
    times; and who went on without it, at most once in place of a payload, which has a line of its own, too. A
    newcomer's share is its own, whatever the peer before it in its place has told.

    Attributes:
        dropped: peer -> how many of its events were left out.
    """

    def __init__(self, exchanges: int = 0) -> None:
        """Set the share for a run with so many exchanges of each peer."""
        self.allow(exchanges)
        self.dropped: Counter[int] = Counter()
        self._used: Counter[int] = Counter()
        self._observed: Counter[int] = Counter()
        self._came_and_went: Counter[int] = Counter()

    def allow(self, exchanges: int) -> None:
        """Set the share for a run with so many exchanges of each peer."""
        self._share = max(_LEAST, _PER_EXCHANGE * exchanges)

    def take(self, peer: int, event: Event, size: int) -> bool:
        """Whether a line of ``size`` bytes about a peer may be written; counts it, or that it was dropped."""
        if isinstance(event, Joined):
            self._used[peer] = self._observed[peer] = self._came_and_went[peer] = 0
        if isinstance(event, _ALWAYS):
            return True
        used = self._used
        if isinstance(event, Observed):
            used = self._observed
        elif isinstance(event, Away | Returned):
            used = self._came_and_went
        match event:
            case Final():
                limit = self._share + _LAST_WORDS
            case Evaluation() | Training():
                limit = self._share
            case _:
                limit = self._share // 2
        if used[peer] + size > limit:
            self.dropped[peer] += 1
            return False
        used[peer] += size
        return True
