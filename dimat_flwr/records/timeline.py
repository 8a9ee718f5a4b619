"""When each peer was asked what and had answered: who worked, and who waited for others.

The relay's clock measures it, and it is different in every run; so it has a file of its own beside metrics.jsonl, which
is the same whenever a run is made again.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TIMELINE_FILE = "timeline.csv"
TIMELINE_COLUMNS = "round,exchange,peer,sent,answered,working,training,merging\n"
_MOST_SECONDS = 1e9  # 31 years: more fits no column, and nobody waits for it


@dataclass(frozen=True)
class Worked:
    """One exchange of one peer, from the relay's message to the answer.

    Attributes:
        round: of the exchange.
        exchange: its name.
        peer: who.
        sent: when it was asked, in seconds since the run began; where it had to be asked again, the last time.
        answered: when its answer came.
        working: seconds of it that the peer says it worked; the rest is the message's way and its queue.
        training: seconds of its work that it trained.
        merging: seconds of its work that it aligned and mixed.
    """

    round: int
    exchange: str
    peer: int
    sent: float
    answered: float
    working: float
    training: float
    merging: float

    @classmethod
    def measured(
        cls,
        round: int,
        exchange: str,
        peer: int,
        sent: float,
        answered: float,
        working: float,
        training: float,
        merging: float,
    ) -> "Worked":
        """Return what happened, with what the peer claims cut down to the time that there was."""
        working = min(working, max(0.0, answered - sent))
        training = min(training, working)
        return cls(round, exchange, peer, sent, answered, working, training, min(merging, working - training))

    def to_line(self) -> str:
        """Return the line of timeline.csv, its end included."""
        name = self.exchange if self.exchange.isidentifier() else f'"{self.exchange.replace(chr(34), chr(34) * 2)}"'
        seconds = (self.sent, self.answered, self.working, self.training, self.merging)
        return f"{self.round},{name},{self.peer},{','.join(f'{value:.3f}' for value in seconds)}\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Worked":
        """Read one line of timeline.csv; ``ValueError`` for another line."""
        number, rest = line.split(b",", 1)
        name, peer, *seconds = rest.rsplit(b",", 6)  # the exchange's name may hold commas
        times = [float(value) for value in seconds]
        if len(times) != 5 or not all(0 <= value <= _MOST_SECONDS for value in times) or int(peer) < 0:
            raise ValueError("not a line of the timeline")
        return cls.measured(int(number), name.decode().strip('"'), int(peer), *times)


class Timeline:
    """The whole run's exchanges, in 28 bytes each."""

    def __init__(self) -> None:
        self._whose = array("i")  # (round, peer)
        self._seconds = array("f")  # (sent, answered, working, training, merging)

    def __len__(self) -> int:
        """How many exchanges have been answered."""
        return len(self._whose) // 2

    def add(self, worked: Worked) -> None:
        """Take one exchange of one peer, in the order in which answers came."""
        self._whose.extend((worked.round, worked.peer))
        self._seconds.extend((worked.sent, worked.answered, worked.working, worked.training, worked.merging))

    def whose(self) -> NDArray[np.int32]:
        """Return (exchanges, 2): round and peer."""
        return np.array(self._whose, dtype=np.int32).reshape(-1, 2)

    def seconds(self) -> NDArray[np.float64]:
        """Return (exchanges, 5): sent, answered, working, training, merging."""
        return np.array(self._seconds, dtype=np.float64).reshape(-1, 5)

    def told(self, rounds: list[int], peers: int) -> NDArray[np.float64]:
        """Return when each round was over for each peer: (rounds, peers) seconds since the run began, NaN: never.

        Args:
            rounds: which, ascending.
            peers: how many.
        """
        found = np.full((len(rounds), peers), np.nan)
        whose, answered = self.whose(), self.seconds()[:, 1]
        if not len(whose) or not rounds or not peers:
            return found
        at = np.searchsorted(rounds, whose[:, 0])
        known = (at < len(rounds)) & (whose[:, 1] < peers)
        known[known] = np.array(rounds)[at[known]] == whose[known, 0]
        # Of several exchanges in a round the last counts; answers come in order.
        found[at[known], whose[known, 1]] = answered[known]
        return found


def read_timeline(lines: Iterator[bytes]) -> tuple[Timeline, int]:
    """Return what a timeline.csv says, and how many of its lines could not be read."""
    timeline, unread = Timeline(), 0
    next(lines, None)  # the names of the columns
    for line in lines:
        try:
            timeline.add(Worked.from_line(line))
        except ValueError:
            unread += 1
    return timeline, unread
