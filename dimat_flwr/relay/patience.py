"""After how long a peer is asked the same again: one that does not answer, and one whose answers are lost.

A device that loses its network or its power between taking a message and answering it is never reported, and Flower
hands out a message once. Who is asked twice does nothing twice, but is sent the payloads twice: so a peer is known by
how long it has taken for the same before, and waited for ever longer. So is one whose process dies over a message
again and again, for example of too little memory.
"""

_TIMES, _LEAST_S = 4.0, 60.0
_REST_S, _LONGEST_REST_S = 3.0, 60.0
_MOST_DOUBLINGS = 20  # there is no more to a float than its largest number


class Patience:
    """How long peers take."""

    def __init__(self, most: float) -> None:
        """Take ``relay.repeat_timeout``, in seconds: the most, and for what a peer has not done before."""
        self._most = most
        self._longest: dict[tuple[int, str], float] = {}

    def took(self, peer: int, exchange: str, seconds: float) -> None:
        """Take note that a peer answered so many seconds after it was asked for an exchange of this name."""
        self._longest[peer, exchange] = max(seconds, self._longest.get((peer, exchange), 0.0))

    def rest(self, lost: int) -> float:
        """Return the seconds before a peer that is there is asked again, after so many losses of one message or more.

        One loss may be an accident, or the end of an outage: it is asked at once.
        """
        return 0.0 if lost < 2 else min(_REST_S * 2.0 ** min(lost - 2, _MOST_DOUBLINGS), _LONGEST_REST_S)

    def of(self, peer: int, exchange: str, asked: int) -> float:
        """Return the seconds to wait for a peer that was asked so often for this exchange."""
        longest = self._longest.get((peer, exchange))
        if longest is None:
            return self._most
        return min(max(_TIMES * longest, _LEAST_S) * 2.0 ** min(asked - 1, _MOST_DOUBLINGS), self._most)
