"""How far a sweep is: what is told of the time that is left follows from the cells that are done."""

import io

import pytest

from dimat_flwr.sweeps import progress
from dimat_flwr.sweeps.grid import Cell
from dimat_flwr.sweeps.progress import Progress
from dimat_flwr.sweeps.record import Standing


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def cells(**seconds):
    """Two seeds of each algorithm; the first one done, in so many seconds, where it says so."""
    found = []
    for algorithm, took in seconds.items():
        for seed in (0, 1):
            cell = Cell({"algorithm": algorithm, "seed": seed}, (), 2)
            done = seed == 0 and took
            found.append(
                Standing(cell, f"{algorithm}{seed}", "completed" if done else "pending", seconds=took if done else None)
            )
    return found


def test_cells_take_what_those_took_that_differ_in_the_seed_alone(clock):
    told = Progress(cells(sgp=100.0, dimat=10.0), ["algorithm", "seed"], 1, io.StringIO())
    assert told.left() == 110.0
    told = Progress(cells(sgp=100.0, dimat=10.0, other=None), ["algorithm", "seed"], 1, io.StringIO())
    assert told.left() == 110.0 + 2 * 55.0
    assert Progress(cells(sgp=None), ["seed"], 1, io.StringIO()).left() is None


def test_of_a_cell_that_runs_what_has_passed_is_taken_off(clock):
    standings = cells(sgp=100.0)
    told = Progress(standings, ["seed"], 1, io.StringIO())
    standings[1].status = "running"
    told.begun(standings[1])
    assert told.left() == 100.0
    clock.now += 70
    assert told.left() == 30.0
    clock.now += 500  # it takes longer than the other did, but it is not done
    assert told.left() == pytest.approx(5.0)


def test_a_last_cell_is_no_faster_where_another_process_has_nothing_to_do(clock):
    assert Progress(cells(sgp=100.0, dimat=10.0), ["seed"], 2, io.StringIO()).left() == 100.0


def test_a_sweep_of_one_cell_has_a_name_for_it(clock):
    said = io.StringIO()
    (standing, _) = cells(sgp=3.0)
    Progress([standing], [], 1, said).ended(standing, 50.0)
    assert said.getvalue() == "1/1 cells  0:00 left  the only cell: 50.0 %\n"
