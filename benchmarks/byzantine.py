"""Accuracy of honest peers among whom some lie, with every aggregation, on digits.

    python benchmarks/byzantine.py [--rounds 6] [--seeds 0 ...] [--only RULE ...] [--csv results/aggregations.csv]

Everybody is everybody's neighbour. Rows are attacks, columns aggregations: final accuracy on all test samples in
percent, the mean over the honest peers, and of that mean and standard deviation over the seeds. The CSV file has a line
for each run, written when it is done. Liars publish, in every exchange, what an attack makes of the models that they
would have published. What is lost with their data, whatever anybody does, rows tell in which they publish nothing and
the others average:

* ``flip``: -4 x;  ``noise``: x + 10 z, z normal with the standard deviation of x tensor by tensor
* ``shift``: two that collude publish one model, the honest peers' mean and 20 of their standard deviations in each
  coordinate ("a little is enough", Baruch et al. 2019, https://arxiv.org/abs/1902.06156, with a larger factor)
"""

import argparse
import csv
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from flwr.app import RecordDict
from safetensors.torch import load
from torch import Tensor

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.launch import launch
from dimat_flwr.local import LocalPost
from dimat_flwr.local.post import Intercept
from dimat_flwr.records import load_summary, report_page
from dimat_flwr.relay import run_relay
from dimat_flwr.wire import names
from dimat_flwr.wire.payload import Payload, from_record, pack, to_record

# (own model, the honest peers' latest models, dice) -> what the liar publishes.
Attack = Callable[[Mapping[str, Tensor], list[Mapping[str, Tensor]], torch.Generator], Mapping[str, Tensor]]
OUT = names.outbox(None)


def flip(own: Mapping[str, Tensor], honest: list[Mapping[str, Tensor]], rng: torch.Generator) -> Mapping[str, Tensor]:
    """Return -4 x."""
    return {name: -4 * x for name, x in own.items()}


def noise(own: Mapping[str, Tensor], honest: list[Mapping[str, Tensor]], rng: torch.Generator) -> Mapping[str, Tensor]:
    """Return x + 10 z."""
    return {
        name: x + 10 * x.std(correction=0) * torch.randn(x.shape, generator=rng) if x.is_floating_point() else x
        for name, x in own.items()
    }


def shift(own: Mapping[str, Tensor], honest: list[Mapping[str, Tensor]], rng: torch.Generator) -> Mapping[str, Tensor]:
    """Return the honest models' mean, and 20 of their standard deviations."""
    found = {}
    for name, x in own.items():
        all_of_them = torch.stack([state[name] for state in honest])
        found[name] = all_of_them.mean(0) + 20 * all_of_them.std(0) if x.is_floating_point() else x
    return found


SILENCE = "silence"
ATTACKS: dict[str, Attack | None] = {"none": None, "flip": flip, "noise": noise, "shift": shift}


def liars(kind_of_lie: str, peers: int, count: int) -> Intercept:
    """Return what lets the last ``count`` of so many peers publish what an attack makes of their models, or nothing."""
    attack = None if kind_of_lie == SILENCE else ATTACKS[kind_of_lie]
    latest: dict[int, Mapping[str, Tensor]] = {}
    rng = torch.Generator().manual_seed(0)
    honest = range(peers - count)

    def intercept(peer: int, kind: str, reply: RecordDict) -> RecordDict:
        if OUT not in reply:
            return reply
        if kind_of_lie == SILENCE and peer not in honest:
            del reply[OUT]
        if attack is None:
            return reply
        own = dict(sorted(load(from_record(reply[OUT])).items()))  # safetensors has them in another order each time
        latest[peer] = own
        if peer not in honest:
            lie = attack(own, [latest[j] for j in honest if j in latest], rng)
            reply[OUT] = to_record(pack(Payload({name: x.contiguous() for name, x in lie.items()})))
        return reply

    return intercept


def run(peers: int, count: int, attack: str, **run_config: str | int) -> tuple[float, Path]:
    """Return the honest peers' mean final accuracy in percent, and the run's folder.

    Args:
        peers: how many.
        count: how many of them, the last ones, lie.
        attack: how: one of ``ATTACKS``, or ``SILENCE``.
        run_config: Flower's run-config, ``output-dir`` among it.
    """
    conf = find_conf_dir()
    post = LocalPost(peers, run_config, conf, liars(attack, peers, count))
    folder = launch(run_config, conf, "benchmarks/byzantine.py", lambda *relayed: run_relay(post, *relayed))
    final = {entry["peer"]: entry["accuracy"] for entry in load_summary(folder)["final"]}
    return float(np.mean([final[peer] for peer in range(peers - count)])), folder


def rules(peers: int, count: int) -> dict[str, str]:
    """Return the overrides of every aggregation, each told how many lie."""
    honest = f"aggregation.rho={1 - count / (peers - 1)}"
    return {
        "mean": "aggregation=mean",
        "clip": f"aggregation=clip aggregation.delta_max={count / peers}",
        "trimmed_mean": f"aggregation=trimmed_mean aggregation.byzantine={count}",
        "median": "aggregation=median",
        "krum": f"aggregation=krum aggregation.byzantine={count}",
        "krum, m = n - f - 2": f"aggregation=krum aggregation.byzantine={count} aggregation.chosen=null",
        "trust, slack 2": f"aggregation=trust aggregation.slack=2 {honest}",
        "trust, slack 0": f"aggregation=trust aggregation.slack=0 {honest}",
    }


# Rows: what it is called, peers, liars, attack.
CASES = [
    ("8 peers, nobody lies", 8, 1, "none"),
    ("1 of 8 says nothing", 8, 1, SILENCE),
    ("1 of 8, `flip`", 8, 1, "flip"),
    ("1 of 8, `noise`", 8, 1, "noise"),
    ("16 peers, nobody lies", 16, 2, "none"),
    ("2 of 16 say nothing", 16, 2, SILENCE),
    ("2 of 16, `shift`", 16, 2, "shift"),
]
PARTITIONS = {"iid": "partition=iid", "Dirichlet 0.5": "partition=dirichlet partition.alpha=0.5"}
SMALL = (
    "model.width=1 training.initialization=same training.pretrain_epochs=5 training.local_epochs=2 "
    "evaluate.every=1000 evaluate.save_models=false"
)


def told(accuracies: Sequence[float]) -> str:
    """Return the mean over the seeds, and where there are several their sample standard deviation."""
    if not accuracies:
        return ""
    mean = f"{statistics.mean(accuracies):.1f}"
    return f"{mean} ± {statistics.stdev(accuracies):.1f}" if len(accuracies) > 1 else mean


def main() -> None:
    """Measure, write a line for each run, and print a Markdown table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=rules(8, 1), default=list(rules(8, 1)))
    parser.add_argument("--csv", type=Path, default=Path("results/aggregations.csv"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    for plot in ("plot_accuracy", "plot_topology"):
        setattr(report_page, plot, lambda summary, path: path.write_bytes(b""))
    began = time.process_time()
    found: dict[tuple[str, str, str], list[float]] = {}
    with chosen.csv.open("w", newline="") as file, tempfile.TemporaryDirectory() as output:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(("seed", "data", "liars", "aggregation", "accuracy"))
        for seed, (data, partition), case, name in product(chosen.seeds, PARTITIONS.items(), CASES, chosen.only):
            title, peers, count, attack = case
            if attack == SILENCE and name != "mean":
                continue
            settings = {
                "algorithm": "weight_averaging", "topology": "fully_connected", "rounds": chosen.rounds,
                "output-dir": output, "overrides": f"{SMALL} {partition} {rules(peers, count)[name]}",
            }  # fmt: skip
            accuracy, _ = run(peers, count, attack, seed=seed, **settings)
            found.setdefault((data, title, name), []).append(accuracy)
            lines.writerow((seed, data, title, name, f"{accuracy:.3f}"))
            file.flush()
    print(f"| data | liars | {' | '.join(chosen.only)} |\n| --- | --- |{' ---: |' * len(chosen.only)}")
    for data, (title, *_) in product(PARTITIONS, CASES):
        print(f"| {data} | {title} | {' | '.join(told(found.get((data, title, name), [])) for name in chosen.only)} |")
    print(f"\n{time.process_time() - began:.0f} s of a processor core")


if __name__ == "__main__":
    main()
