"""What a sweep costs besides its cells: 100 tiny runs on digits in warm processes, against the sum of their own work.

    python benchmarks/sweep.py              # 100 cells, as many at a time as there are cores
    python benchmarks/sweep.py --cells 20   # a first look

Printed are the seconds from the command's start to its end, the sum of the cells' own (each one's run from its
configuration to its report, wall-clock) over the processes, and their ratio. The first includes starting the processes,
importing torch in each, and looking at every cell before any is run.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parents[1]
TINY = (
    "experiment=quick",
    "model.width=1",
    "rounds=2",
    "training.pretrain_epochs=2",
    "training.local_epochs=1",
    "algorithm=dimat,weight_averaging",
    "topology=ring,fully_connected",
)


def main(
    cells: Annotated[int, typer.Option(help="How many; a multiple of 4.", min=4)] = 100,
    jobs: Annotated[int, typer.Option(help="Cells at a time; 0: as many as there are cores.")] = 0,
) -> None:
    """Run the sweep and print the ratio."""
    jobs = jobs or len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        words = [*TINY, f"seed=range(0,{cells // 4})", "--folder", folder, "--jobs", str(jobs)]
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "apps.sweep", "grid", *words], cwd=ROOT, check=True, capture_output=True)
        took = time.perf_counter() - began
        told = json.loads((Path(folder) / "sweep.json").read_text())["cells"]
    own = sum(cell["seconds"] for cell in told)
    print(f"{len(told)} cells, {jobs} at a time: {took:.1f} s; own work {own:.1f} s / {jobs} = {own / jobs:.1f} s")
    print(f"ratio {took / (own / jobs):.3f}")


if __name__ == "__main__":
    typer.run(main)
