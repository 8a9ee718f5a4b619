"""What a person reads while a run goes on."""

import pytest

from dimat_flwr.events import Evaluation
from dimat_flwr.relay.progress import Progress


class Clock:
    time = 0.0

    def now(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_mean_over_some_of_the_peers_says_so(clock: Clock) -> None:
    lines: list[str] = []
    progress = Progress(3, 3, lines.append, clock)
    for peer in range(3):
        progress.observe(Evaluation("after_training", 90.0 + peer, None, 0.1), peer, 0)
    progress.reached(0)
    progress.observe(Evaluation("after_merge", 50.0, None, 0.1), 2, 1)
    progress.reached(1)
    assert "trained  91.0 ±  0.8 %  0 B" in lines[0]
    assert "after merge  50.0 ±  0.0 % (1 of 3 peers)" in lines[1]


def test_one_long_wait_does_not_double_the_time_left(clock: Clock) -> None:
    lines: list[str] = []
    progress = Progress(20, 2, lines.append, clock)
    progress.reached(0)
    for done in range(1, 11):
        clock.time += 600.0 if done == 6 else 6.0
        progress.reached(done)
    assert "left" not in lines[0], "round 0 is start-up and says nothing about the others"
    assert lines[10].endswith("1:00 left"), lines[10]
    for done in range(11, 21):
        clock.time += 6.0
        progress.reached(done)
    assert lines[19].endswith("0:06 left")
    assert lines[20].endswith("relayed"), "nothing is left after the last"


def test_long_silence_is_broken_by_who_is_at_work(clock: Clock) -> None:
    lines: list[str] = []
    progress = Progress(5, 30, lines.append, clock)
    progress.waiting([1])
    assert lines == []
    clock.time = 31.0
    progress.waiting(range(12))
    assert lines[0].startswith("round 0/5  at work: peer 0, peer 1,")
    assert lines[0].endswith("peer 9 and 2 more")
