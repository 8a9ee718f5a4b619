"""Many runs from one description: a grid of cells, run in warm processes, gone on with where it was left.

``definition`` reads conf/sweep, ``grid`` makes cells of it, ``crew`` has the processes, in which ``cell_work`` checks
and runs a cell, ``record`` writes sweep.json, ``sweep`` brings them together; ``estimate`` says what a sweep would
take, from what ``measuring`` finds. torch is imported in the processes only.
"""

from dimat_flwr.sweeps.definition import Definition, load_definition
from dimat_flwr.sweeps.errors import SweepError
from dimat_flwr.sweeps.grid import Cell, Grid, expand
from dimat_flwr.sweeps.record import SWEEP_FILE

__all__ = ["SWEEP_FILE", "Cell", "Definition", "Grid", "SweepError", "expand", "load_definition"]
