"""What starting costs: from `flwr run` to the first trained model, beside an app that only imports torch.

python benchmarks/startup.py [--starts 3]

The empty app has a ServerApp that sends a message to five nodes and a ClientApp that imports torch and does one
backward pass: what Flower, Ray and torch need before anybody's code runs. Both apps start by turns, with two workers,
in a SuperLink that is warm (one start of each is thrown away). The limit is 2 times the empty app.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the SuperLink is the tests'

from tests.e2e.processes import simulating_superlink

LIMIT = 2.0
FEDERATION = "num-supernodes=5 client-resources-num-cpus=1 init-args-num-cpus=2"
EMPTY = {
    "pyproject.toml": """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "empty"
version = "0.1.0"
license = "Apache-2.0"
dependencies = ["flwr[simulation]>=1.40,<2", "torch>=2.4"]
[tool.hatch.build.targets.wheel]
packages = ["empty"]
[tool.flwr.app]
publisher = "nobody"
[tool.flwr.app.components]
serverapp = "empty.apps:server"
clientapp = "empty.apps:client"
[tool.flwr.app.config]
output-dir = ""
""",
    "empty/__init__.py": "",
    "empty/apps.py": """
import time
from pathlib import Path
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

server = ServerApp()
client = ClientApp()

@server.main()
def main(grid, context):
    while len(nodes := list(grid.get_node_ids())) < 5:
        time.sleep(0.05)
    waiting = set(grid.push_messages([Message(RecordDict(), dst_node_id=n, message_type="train") for n in nodes]))
    while waiting:
        for reply in grid.pull_messages(list(waiting)):
            waiting.discard(reply.metadata.reply_to_message_id)
            with Path(context.run_config["output-dir"], "metrics.jsonl").open("a") as lines:
                lines.write('{"kind": "training"}')
        time.sleep(0.01)

@client.train()
def train(message, context):
    import torch
    network = torch.nn.Linear(4, 4)
    network(torch.ones(1, 4)).sum().backward()
    return Message(RecordDict(), reply_to=message)
""",
}


def first_training(app: Path, environment: dict[str, str], settings: str = "") -> float:
    """Return the seconds from `flwr run` to the first model that was trained."""
    with tempfile.TemporaryDirectory() as output:
        command = ["flwr", "run", str(app), "--stream", "--federation-config", FEDERATION]
        began = time.perf_counter()
        with subprocess.Popen(
            [*command, "-c", f"output-dir='{output}' {settings}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            while not any('"training"' in lines.read_text() for lines in Path(output).rglob("metrics.jsonl")):
                if process.poll() is not None:
                    said = process.stdout.read().decode() if process.stdout else ""
                    raise SystemExit(f"{app} ended before anything was trained:\n{said[-2000:]}")
                time.sleep(0.02)
            seconds = time.perf_counter() - began
            process.communicate()
    return seconds


def main(starts: int = 3) -> None:
    """Start both by turns; print each start and the ratio of the medians."""
    console = Console()
    taken: dict[str, list[float]] = {"empty app": [], "this app": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as home,
        simulating_superlink(Path(home)) as environment,
    ):
        for name, text in EMPTY.items():
            (Path(folder) / name).parent.mkdir(exist_ok=True)
            (Path(folder) / name).write_text(text)
        for start in range(starts + 1):
            each = (
                first_training(Path(folder), environment),
                first_training(Path(), environment, "rounds=1"),
            )
            if start:
                for seconds, name in zip(each, taken, strict=True):
                    taken[name].append(seconds)
                console.print(f"{start}/{starts}  empty app {each[0]:.1f} s  this app {each[1]:.1f} s")
    ours, empty = median(taken["this app"]), median(taken["empty app"])
    console.print(f"[bold]{ours / empty:.2f} x[/] the empty app ({ours:.1f} s, {empty:.1f} s; limit {LIMIT:g} x)")


if __name__ == "__main__":
    typer.run(main)
