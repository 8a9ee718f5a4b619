"""Every cell of every sweep is one that could be run."""

import shlex

import pytest

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.sweeps import expand, load_definition
from dimat_flwr.sweeps.cell_work import check
from dimat_flwr.sweeps.definition import sweep_names
from dimat_flwr.sweeps.job import Job

SWEEPS = sweep_names(find_conf_dir())
LIKE_OTHERS = ("topology", "partition", "topology.p", "partition.alpha", "training.local_epochs", "peers")


def of_all_seeds_one(cells):
    """Return one cell of those that differ in nothing but the seed."""
    found = {}
    for cell in cells:
        found.setdefault(tuple(str(value) for name, value in cell.values.items() if name != "seed"), cell)
    return found.values()


def with_every_value(cells):
    """Return cells that have every value of every axis between them, but those of ``LIKE_OTHERS``."""
    seen, found = set(), []
    for cell in cells:
        values = {(name, str(value)) for name, value in cell.values.items() if name not in ("seed", *LIKE_OTHERS)}
        if not found or values - seen:
            found.append(cell)
        seen |= values
    return found


def identities(name, scale, some_of):
    grid = expand(load_definition(name, find_conf_dir()), [f"scale={scale}"])
    cells = some_of(grid.cells)
    jobs = [Job({"overrides": shlex.join(c.overrides)}, c.peers, "", tuple(grid.axes)) for c in cells]
    return [check(job).id for job in jobs]


@pytest.mark.parametrize("name", ["fig_scalability", "sgm_windows", "table6_overhead"])  # one of each kind of grid
def test_cells_of_the_smallest_scale_are_valid(name):
    scale = list(load_definition(name, find_conf_dir()).scales)[-1]
    found = identities(name, scale, with_every_value)
    assert len(set(found)) == len(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_all_cells_are_valid_and_no_two_the_same(name):
    for scale in load_definition(name, find_conf_dir()).scales:
        found = identities(name, scale, of_all_seeds_one)
        assert len(set(found)) == len(found)
