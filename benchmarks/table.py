"""Every algorithm on a ring and fully connected, with data that is alike and data that is not, at equal epochs.

Five peers, half of the digits (144 images each), a small network, different first weights: 10 epochs alone, then 20
epochs with 10 or 80 exchanges. Algorithms that train between merges do 2 epochs between two of them, with Adam; those
that step along gradients exchange after every minibatch of 36, with plain SGD, as in their papers. So all see every
image equally often; the gradient algorithms send eight times as many models.

    python -m benchmarks.table --tune       # find step sizes first, on a seed that is not among those reported
    python -m benchmarks.table              # with the step sizes in results/step_sizes.csv

A step size is found for every algorithm and partition on the ring, and taken on the other topology too. Those that
train with Adam take that of weight averaging.

A finished cell is kept under ``--cells`` by the content of its configuration and not run again. At the end the table is
printed as Markdown and written as CSV.
"""

import csv
import hashlib
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dimat_flwr.sweeps.crew import Crew, Failed
from dimat_flwr.sweeps.hands import environments
from dimat_flwr.sweeps.job import PREPARE

PEERS = 5
SEEDS = (0, 1, 2)
TUNING_SEED = 100
TOPOLOGIES = ("ring", "fully_connected")
PARTITIONS = ("iid", "classes")
GOAL = 90.0  # percent
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
COMMON = (
    "dataset.train_samples=720",
    "model.width=1",
    "training.pretrain_epochs=10",
    "training.batch_size=36",
    "batchnorm.samples=144",
    "evaluate.save_models=false",
)
BY_EPOCHS = ("rounds=10", "training.local_epochs=2")
BY_MINIBATCHES = ("rounds=80", "training.local_steps=1", "optimizer=sgd", "evaluate.every=4")  # 4 are an epoch


@dataclass(frozen=True)
class Subject:
    """An algorithm as it is run here.

    Attributes:
        settings: overrides.
        start: where the search for a step size begins; None takes that of weight averaging.
        topology: whether the topology makes a difference.
        partition: whether the partition does.
    """

    settings: tuple[str, ...] = BY_EPOCHS
    start: float | None = None
    topology: bool = True
    partition: bool = True


SUBJECTS = {
    "local_only": Subject(topology=False),
    "weight_averaging": Subject(start=0.01),
    "dimat": Subject(),
    "weight_matching": Subject(),
    "aligned_averaging": Subject(),
    "gossip": Subject((*BY_EPOCHS, "algorithm.gossip_steps=2")),
    "epidemic": Subject(topology=False),
    "relaysgd": Subject(),
    "cdsgd": Subject(BY_MINIBATCHES, 0.3),
    "cdmsgd": Subject(BY_MINIBATCHES, 0.03),
    "sgp": Subject(BY_MINIBATCHES, 0.3),
    "gradient_tracking": Subject(BY_MINIBATCHES, 0.3),
    "qg_dsgdm": Subject(BY_MINIBATCHES, 0.03),
    "damsgrad": Subject(BY_MINIBATCHES, 0.01),
    "cga": Subject(BY_MINIBATCHES, 0.03),
    "choco": Subject((*BY_MINIBATCHES, "codec=top_k", "codec.share=0.1", "algorithm.gamma=0.3"), 0.3),
    "fedavg": Subject(topology=False),
    "centralized": Subject(topology=False, partition=False),
}


@dataclass(frozen=True)
class Cell:
    """One run: an algorithm under one condition, with one seed and step size."""

    algorithm: str
    topology: str
    partition: str
    seed: int
    rate: float

    def overrides(self) -> list[str]:
        """Return the settings of the run; equal ones make equal runs."""
        graph = [f"topology={self.topology}"]
        if self.algorithm == "relaysgd":
            graph = ["topology=tree", f"topology.of={self.topology}"]
        chosen = [f"algorithm={self.algorithm}", *graph, f"partition={self.partition}", f"seed={self.seed}"]
        return [*chosen, *COMMON, *SUBJECTS[self.algorithm].settings, f"optimizer.lr={self.rate}"]

    def path(self, cells: Path) -> Path:
        """Return where the result of the run is kept."""
        return cells / f"{hashlib.sha256(json.dumps([PEERS, *self.overrides()]).encode()).hexdigest()[:24]}.json"


def run(job: tuple[Cell, Path]) -> dict[str, Any]:
    """Run a cell unless it was run before, and keep its figures below a folder; return them.

    Returns:
        ``accuracy``: of the final models, percent, 0 where the run failed (a step size too large); ``rounds`` and
        ``bytes``: after which the accuracy after a merge was 90 % for the first time, None where it never was;
        ``seconds`` of processor time; ``overrides``.
    """
    from dimat_flwr.conf_dir import find_conf_dir
    from dimat_flwr.launch import launch
    from dimat_flwr.local import LocalPost
    from dimat_flwr.relay import run_relay

    cell, cells = job
    path = cell.path(cells)
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    output = tempfile.mkdtemp()
    run_config = {"output-dir": output, "overrides": " ".join(cell.overrides())}
    began = time.process_time()
    try:
        post = LocalPost(PEERS, run_config, find_conf_dir())
        folder = launch(run_config, find_conf_dir(), "benchmarks/table.py", lambda *given: run_relay(post, *given))
        summary = json.loads((folder / "summary.json").read_text())
    finally:
        shutil.rmtree(output)
    completed = summary["status"] == "completed"
    sent, reached = 0, None
    for entry in summary["rounds"]:
        sent += entry["bytes"]
        if reached is None and (entry["accuracy_after_merge"] or 0) >= GOAL:
            reached = (entry["round"], sent)
    figures = {
        "accuracy": summary["final_accuracy"] if completed else 0.0,
        "rounds": reached and reached[0],
        "bytes": reached and reached[1],
        "seconds": time.process_time() - began,
        "overrides": cell.overrides(),
    }
    cells.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(figures))
    part.replace(path)
    return figures


def best_rate(search: tuple[str, str, Path]) -> dict[str, str]:
    """Return the step size with the best final accuracy on the tuning seed, and all that were tried.

    Three neighbours are tried, and more on the side of the best until it lies between two worse ones.
    """
    algorithm, partition, cells = search
    start = SUBJECTS[algorithm].start
    assert start is not None
    middle = RATES.index(start)
    tried: dict[int, float] = {}
    wanted = [middle - 1, middle, middle + 1]
    while wanted:
        for place in wanted:
            cell = Cell(algorithm, TOPOLOGIES[0], partition, TUNING_SEED, RATES[place])
            tried[place] = run((cell, cells))["accuracy"]
        best = max(tried, key=lambda place: tried[place])
        wanted = [place for place in (best - 1, best + 1) if place not in tried and 0 <= place < len(RATES)]
    listed = ", ".join(f"{RATES[place]:g}: {tried[place]:.1f}" for place in sorted(tried))
    return {"algorithm": algorithm, "partition": partition, "rate": f"{RATES[best]:g}", "tried": listed}


def worked_off(workers: int, work: str, jobs: Sequence[Any], name: str, console: Console) -> list[Any]:
    """Return the results of the jobs in their order, after a line that says how far it is and what time is left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    found = {}
    with Crew(environments(workers, 0), PREPARE) as crew, Progress(*columns, console=console) as shown:
        for number, result in shown.track(crew.work(work, jobs), total=len(jobs), description=name):
            if isinstance(result, Failed):
                raise RuntimeError(result.traceback or result.reason)
            found[number] = result
    return [found[number] for number in range(len(jobs))]


def planned(rates: dict[tuple[str, str], float], algorithm: str, topology: str, partition: str) -> list[Cell]:
    """Return the runs of an algorithm under one condition: with its own step size or that of weight averaging."""
    subject = SUBJECTS[algorithm]
    topology = topology if subject.topology else TOPOLOGIES[0]
    partition = partition if subject.partition else PARTITIONS[0]
    tuned = algorithm if subject.start is not None else "weight_averaging"
    return [Cell(algorithm, topology, partition, seed, rates[tuned, partition]) for seed in SEEDS]


def averaged(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and sample standard deviation over the seeds; 90 % is reached where every seed reached it."""
    accuracies = [run["accuracy"] for run in runs]
    row: dict[str, Any] = {"accuracy": statistics.mean(accuracies), "deviation": statistics.stdev(accuracies)}
    for key in ("rounds", "bytes"):
        values = [run[key] for run in runs]
        row[f"{key}_to_90"] = None if None in values else statistics.mean(values)
    return row | {"seconds": statistics.mean(run["seconds"] for run in runs)}


def markdown(rows: Iterable[dict[str, Any]], partition: str) -> str:
    """Return the table of one partition: accuracy, and what it took to 90 %, on both topologies."""
    found = {(row["algorithm"], row["topology"]): row for row in rows if row["partition"] == partition}
    lines = [
        "| algorithm | ring: accuracy (%) | rounds to 90 % | MB to 90 % "
        "| fully connected: accuracy (%) | rounds to 90 % | MB to 90 % | seconds |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for algorithm in SUBJECTS:
        cells = [f"`{algorithm}`"]
        for topology in TOPOLOGIES:
            row = found[algorithm, topology]
            rounds, sent = row["rounds_to_90"], row["bytes_to_90"]
            cells += [
                f"{row['accuracy']:.1f} ± {row['deviation']:.1f}",
                "–" if rounds is None else f"{rounds:.0f}",
                "–" if sent is None else f"{sent / 1e6:.1f}",
            ]
        seconds = [found[algorithm, topology]["seconds"] for topology in TOPOLOGIES]
        lines.append("| " + " | ".join([*cells, f"{seconds[0]:.0f}, {seconds[1]:.0f}"]) + " |")
    return "\n".join(lines) + "\n"


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with the columns of the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(
    tune: Annotated[bool, typer.Option("--tune", help="Find step sizes first, and record them.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes, with a thread each.")] = 1,
    results: Annotated[Path, typer.Option(help="Folder of the CSV files.")] = Path("results"),
    cells: Annotated[Path, typer.Option(help="Folder of the finished cells.")] = Path("~/.cache/dimat-flwr/table"),
) -> None:
    """Run what has not been run yet, and write the table."""
    console = Console()
    cells = cells.expanduser()
    recorded = results / "step_sizes.csv"
    if tune:
        tuned = [name for name, subject in SUBJECTS.items() if subject.start is not None]
        searches = [(*search, cells) for search in product(tuned, PARTITIONS)]
        write_csv(recorded, worked_off(workers, "benchmarks.table:best_rate", searches, "step sizes", console))
    if not recorded.is_file():
        raise typer.BadParameter(f"there is no {recorded}; run with --tune to find step sizes")
    with recorded.open(newline="") as file:
        rates = {(row["algorithm"], row["partition"]): float(row["rate"]) for row in csv.DictReader(file)}
    conditions = {condition: planned(rates, *condition) for condition in product(SUBJECTS, TOPOLOGIES, PARTITIONS)}
    distinct = list(dict.fromkeys(cell for runs in conditions.values() for cell in runs))
    jobs = [(cell, cells) for cell in distinct]
    figures = dict(zip(distinct, worked_off(workers, "benchmarks.table:run", jobs, "runs", console), strict=True))
    rows = []
    for condition, runs in conditions.items():
        names = dict(zip(("algorithm", "topology", "partition"), condition, strict=True))
        rows.append({**names, "rate": runs[0].rate, **averaged([figures[cell] for cell in runs])})
    write_csv(results / "algorithms.csv", rows)
    for partition in PARTITIONS:
        console.print(f"partition={partition}\n\n{markdown(rows, partition)}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
