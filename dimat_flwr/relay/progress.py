"""One line of progress a round, and a sign of life in long ones."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from dimat_flwr.wire.report import Event

_STAGES = {"before_merge": "before merge", "after_merge": "after merge", "after_training": "trained"}
_SIGN_OF_LIFE_S = 30.0


class Progress:
    """Collects the peers' events and says a line when all peers have left a round."""

    def __init__(self, rounds: int, say: Callable[[str], None]) -> None:
        """Prepare for ``rounds`` rounds (a final merge included); ``say`` prints one line."""
        self._rounds = rounds
        self._say = say
        self._accuracy: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.said = -1
        self._start = self._last_line = time.monotonic()
        self._first_round_at: float | None = None

    def observe(self, event: Event) -> None:
        """Take note of an accuracy that a peer reported."""
        accuracy = event.get("accuracy")
        if event["event"] == "evaluation" and isinstance(accuracy, int | float):
            self._accuracy[int(event["round"])][str(event.get("stage"))].append(float(accuracy))

    def reached(self, round_number: int, bytes_by_round: Mapping[int, int]) -> None:
        """Say the lines of all rounds up to this one, which every peer has left."""
        for done in range(self.said + 1, round_number + 1):
            self._line(done, sum(count for number, count in bytes_by_round.items() if number <= done))
        self.said = max(self.said, round_number)

    def waiting(self, busy: Sequence[str]) -> None:
        """Say who is at work if nothing was said for a while."""
        if time.monotonic() - self._last_line > _SIGN_OF_LIFE_S:
            self._print(f"round {self.said + 1}/{self._rounds}  at work: {', '.join(busy) or 'nobody'}")

    def _line(self, round_number: int, total_bytes: int) -> None:
        parts = [f"round {round_number:>{len(str(self._rounds))}}/{self._rounds}"]
        for stage, title in _STAGES.items():
            values = self._accuracy[round_number][stage]
            if values:
                parts.append(f"{title} {statistics.fmean(values):5.1f} ± {statistics.pstdev(values):4.1f} %")
        self._accuracy.pop(round_number)
        parts.append(f"{format_bytes(total_bytes)} relayed")
        parts.append(f"{format_time(self._time_left(round_number))} left")
        self._print("  ".join(parts))

    def _time_left(self, round_number: int) -> float:
        now = time.monotonic()
        if self._first_round_at is None or round_number < 1:
            # Round 0 is local training of its own length and tells little about the others.
            self._first_round_at = now
            return (now - self._start) * self._rounds
        return (now - self._first_round_at) / round_number * (self._rounds - round_number)

    def _print(self, line: str) -> None:
        self._say(line)
        self._last_line = time.monotonic()


def format_bytes(count: float) -> str:
    """Return a byte count with a decimal unit, such as ``1.5 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_time(seconds: float) -> str:
    """Return a duration as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
