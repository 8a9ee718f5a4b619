"""One line of progress a round, and a sign of life in long ones."""

import statistics
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable

from dimat_flwr.events import Counterfactual, Evaluation, PeerEvent
from dimat_flwr.records.headline import readable_bytes, readable_time
from dimat_flwr.relay.clock import Clock

_STAGES = {"after_merge": "after merge", "after_training": "trained", "counterfactual": "if all merged"}
_SIGN_OF_LIFE_S = 30.0
_NAMED = 10  # peers named in one line


class Progress:
    """Collects the peers' events and says a line when all peers have left a round."""

    def __init__(self, rounds: int, peers: int, say: Callable[[str], None], clock: Clock) -> None:
        """Prepare for ``rounds`` rounds (a final merge included) of so many peers; ``say`` prints one line."""
        self._rounds, self._peers, self._say, self._clock = rounds, peers, say, clock
        # Of rounds that are not over: round -> stage -> peer -> the last it reported.
        self._accuracy: dict[int, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
        self._bytes: Counter[int] = Counter()  # by round, those that are not over
        self._total_bytes = 0
        self.said = -1
        self._last_line = clock.now()
        self._left_at: float | None = None  # when the last round was left
        self._durations: deque[float] = deque(maxlen=20)  # of the last rounds, in seconds

    def observe(self, event: PeerEvent, peer: int, round: int) -> None:
        """Take note of an accuracy that a peer reported in a round that is not over yet."""
        if isinstance(event, Evaluation | Counterfactual) and event.accuracy is not None and round > self.said:
            stage = event.stage if isinstance(event, Evaluation) else event.kind
            self._accuracy[round][stage][peer] = event.accuracy

    def relayed(self, round: int, count: int) -> None:
        """Take note of bytes that went along an edge."""
        self._bytes[round] += count

    def reached(self, round: int) -> None:
        """Say the lines of all rounds up to this one, which every peer has left."""
        for done in range(self.said + 1, round + 1):
            self._total_bytes += self._bytes.pop(done, 0)
            self._line(done)
        self.said = max(self.said, round)

    def begin_after(self, round: int) -> None:
        """Say nothing of the rounds up to this one: they were done before the run was gone on with."""
        self.said = round

    def waiting(self, busy: Iterable[int]) -> None:
        """Say which peers are at work if nothing was said for a while."""
        if self._clock.now() - self._last_line > _SIGN_OF_LIFE_S:
            peers = sorted(busy)
            listed = ", ".join(f"peer {peer}" for peer in peers[:_NAMED])
            more = f" and {len(peers) - _NAMED} more" if len(peers) > _NAMED else ""
            self._print(f"round {self.said + 1}/{self._rounds}  at work: {listed or 'nobody'}{more}")

    def _line(self, round: int) -> None:
        parts = [f"round {round:>{len(str(self._rounds))}}/{self._rounds}"]
        for stage, title in _STAGES.items():
            values = self._accuracy[round][stage].values()
            if values:
                some = "" if len(values) == self._peers else f" ({len(values)} of {self._peers} peers)"
                parts.append(f"{title} {statistics.fmean(values):5.1f} ± {statistics.pstdev(values):4.1f} %{some}")
        self._accuracy.pop(round, None)
        parts.append(f"{readable_bytes(self._total_bytes)} relayed")
        left = self._time_left(round)
        if left is not None and round < self._rounds:
            parts.append(f"{readable_time(left)} left")
        self._print("  ".join(parts))

    def _time_left(self, round: int) -> float | None:
        """Return the median round's seconds times the rounds left: one wait for a lost peer says little about them."""
        now, before = self._clock.now(), self._left_at
        self._left_at = now
        if before is None or round < 1:
            # Round 0 is start-up and local training of its own length: it tells nothing about the others.
            return None
        self._durations.append(now - before)
        return statistics.median(self._durations) * (self._rounds - round)

    def _print(self, line: str) -> None:
        self._say(line)
        self._last_line = self._clock.now()
