"""Every cell of every sweep is one that could be run."""

import shlex

import pytest

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.sweeps import expand, load_definition
from dimat_flwr.sweeps.cell_work import check
from dimat_flwr.sweeps.definition import sweep_names
from dimat_flwr.sweeps.job import Job

SWEEPS = sweep_names(find_conf_dir())
LIKE_OTHERS = ("seed", "topology", "partition", "topology.p", "partition.alpha", "training.local_epochs", "peers")


def distinct(grid, but=()):
    """Return one cell of those that differ in nothing but seed and the keys in ``but``."""
    found = {}
    for cell in grid.cells:
        key = tuple(str(value) for name, value in cell.values.items() if name not in ("seed", *but))
        found.setdefault(key, cell)
    return found.values()


def identities(name, scale, but=()):
    grid = expand(load_definition(name, find_conf_dir()), [f"scale={scale}"])
    jobs = [Job({"overrides": shlex.join(c.overrides)}, c.peers, "", tuple(grid.axes)) for c in distinct(grid, but)]
    return [check(job).id for job in jobs]


@pytest.mark.parametrize("name", SWEEPS)
def test_cells_of_the_smallest_scale_are_valid(name):
    scale = list(load_definition(name, find_conf_dir()).scales)[-1]
    found = identities(name, scale, LIKE_OTHERS)
    assert len(set(found)) == len(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_all_cells_are_valid_and_no_two_the_same(name):
    for scale in load_definition(name, find_conf_dir()).scales:
        found = identities(name, scale)
        assert len(set(found)) == len(found)
