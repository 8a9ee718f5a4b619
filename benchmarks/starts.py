"""Start the default job many times in a row, with more workers than cores: every start must complete.

python benchmarks/starts.py [--starts 30] [--workers 8] [--peers 5]

Peers of a simulation share a machine: its folders, ports and cores. What they do at the same moment shows only when it
is done often. Each start is a `flwr run` of one round without pre-training; a line per start, the count at the end.
They share a SuperLink, which is started before and ended after them.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the SuperLink is the tests'

from tests.e2e.processes import simulating_superlink


def main(starts: int = 30, workers: int = 8, peers: int = 5) -> None:
    """Start, and say what came of it; exit code 1 if any start did not complete."""
    console = Console()
    completed = 0
    federation = f"num-supernodes={peers} client-resources-num-cpus=1 init-args-num-cpus={workers}"
    with (
        tempfile.TemporaryDirectory() as output,
        tempfile.TemporaryDirectory() as home,
        simulating_superlink(Path(home)) as environment,
    ):
        for number in range(1, starts + 1):
            settings = f"output-dir='{output}' name='start{number}' rounds=1 overrides='training.pretrain_epochs=0'"
            began = time.perf_counter()
            command = ["flwr", "run", ".", "--stream", "--federation-config", federation, "-c", settings]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            folders = list(Path(output).glob(f"*-start{number}"))
            summary = json.loads((folders[0] / "summary.json").read_text()) if folders else {"status": "not begun"}
            ended = summary["status"] == "completed" and len(list(folders[0].glob("models/*.safetensors"))) == peers
            completed += ended
            console.print(f"{number:>3}/{starts}  {summary['status']}  {time.perf_counter() - began:.0f} s")
            if not ended:
                console.print((done.stdout + done.stderr)[-2000:], markup=False)
    console.print(f"{completed} of {starts} starts completed ({workers} workers)")
    raise typer.Exit(int(completed < starts))


if __name__ == "__main__":
    typer.run(main)
