"""Schedules round by round, and what each refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dimat_flwr.topology import ScheduleError
from dimat_flwr.topology.schedules.always import Always
from dimat_flwr.topology.schedules.every_n import EveryN
from dimat_flwr.topology.schedules.never import Never
from dimat_flwr.topology.schedules.windows import Windows


def modes(schedule, rounds):
    return [schedule.mode(r, rounds) for r in range(1, rounds + 1)]


def test_always_and_never():
    assert modes(Always(), 3) == ["topology"] * 3
    assert modes(Never(), 3) == ["none"] * 3


@given(n=st.integers(1, 8), rounds=st.integers(8, 40))
def test_every_n_exchanges_in_the_multiples_of_n(n, rounds):
    found = [r for r, mode in enumerate(modes(EveryN(n=n), rounds), start=1) if mode == "topology"]
    assert found == list(range(n, rounds + 1, n))


def test_windows_hold_within_and_none_holds_outside():
    schedule = Windows(windows=[[5, 6, "fully_connected"], [2, 3, "topology"], [4, 4, "none"]])
    assert modes(schedule, 7) == ["none", "topology", "topology", "none", "fully_connected", "fully_connected", "none"]


def test_windows_take_hydras_lists():
    windows = OmegaConf.create({"windows": [[1, 2, "topology"]]}).windows
    assert Windows(windows=windows) == Windows(windows=[(1, 2, "topology")])


@pytest.mark.parametrize("schedule", [Always(), Never(), EveryN(n=2), Windows(windows=[(1, 4, "topology")])])
def test_round_zero_never_exchanges_and_rounds_outside_the_run_are_refused(schedule):
    assert schedule.mode(0, 4) == "none"
    for r in (-1, 5):
        with pytest.raises(ScheduleError, match=rf"no round {r} in a run of 4: rounds are 0\.\.4"):
            schedule.mode(r, 4)
    with pytest.raises(ScheduleError, match="-1 rounds"):
        schedule.check(-1)


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ([], "at least one window"),
        ([[0, 2, "topology"]], r"\[0, 2, topology\]: rounds count from 1"),
        ([[3, 2, "topology"]], r"\[3, 2, topology\].*start must not follow end"),
        ([[4, 6, "none"], [1, 4, "topology"]], r"\[1, 4, topology\] and \[4, 6, none\] overlap"),
        ([[1, 9, "topology"], [3, 4, "none"]], "overlap"),
        ([[1, 2, "ring"]], "'none', 'topology' or 'fully_connected'"),
        ([[1, 2]], r"window \[1, 2\]: write \[first round, last round, mode\]"),
        ([1, 2, "topology"], r"window 1: write \[first round"),
        ("late", "windows"),
        ([["a", 2, "topology"]], "valid integer"),
    ],
)
def test_contradictory_windows_are_refused(windows, message):
    with pytest.raises(ValueError, match=message):
        Windows(windows=windows)


def test_windows_after_the_last_round_are_refused():
    schedule = Windows(windows=[(1, 2, "topology"), (3, 6, "topology"), (8, 9, "none")])
    assert schedule.mode(1, 9) == "topology"
    with pytest.raises(
        ScheduleError, match=r"last round, 5: \[3, 6, topology\], \[8, 9, none\]; change schedule.windows"
    ):
        schedule.mode(1, 5)


def test_an_n_that_no_round_reaches_is_refused():
    with pytest.raises(ScheduleError, match=r"n = 5 would never exchange in 4 rounds"):
        EveryN(n=5).mode(1, 4)
    EveryN(n=5).check(0)  # pre-training only: nothing is promised
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        EveryN(n=0)


@pytest.mark.parametrize("cls", [Always, Never, EveryN, Windows])
def test_unknown_keys_are_refused(cls):
    with pytest.raises(ValueError, match="final_merge"):
        cls(final_merge="uniform")
    with pytest.raises(ValueError, match="every"):
        cls(every=3)


def test_a_schedule_that_raises_or_answers_nonsense_is_named():
    class Raises(Always):
        def exchange(self, round):
            raise KeyError("round")

    class Odd(Always):
        def exchange(self, round):
            return "ring"

    class BadCheck(Always):
        def check(self, rounds):
            raise ZeroDivisionError("rounds")

    for schedule, message in (
        (Raises(), "Raises raised KeyError for round 1 of 4: 'round'"),
        (Odd(), r"Odd.exchange\(1\) must return one of 'none', 'topology', 'fully_connected', not 'ring'"),
        (BadCheck(), "BadCheck raised ZeroDivisionError for round 1 of 4"),
    ):
        with pytest.raises(ScheduleError, match=message):
            schedule.mode(1, 4)
