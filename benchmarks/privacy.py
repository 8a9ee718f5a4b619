"""Accuracy against epsilon: differential privacy of each sample, on digits, with several amounts of noise.

    python -m benchmarks.privacy [--noise 0 1 2 4] [--seeds 0 1 2] [--peers 5] [--rounds 10] [--csv results/privacy.csv]

Writes a line for each run, and prints a Markdown table of them: epsilon of the whole run (the largest of the peers' and
seeds'), final accuracy on all test samples in percent, the mean over the peers, and of that mean and sample standard
deviation over the seeds. Noise 0 is training without privacy, by the same optimizer.
"""

import argparse
import csv
import logging
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.byzantine import told
from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.launch import launch
from dimat_flwr.local import LocalPost
from dimat_flwr.records import load_summary, report_page
from dimat_flwr.relay import run_relay

SETTINGS = (
    "model.in_features=64 model.batchnorm=false training.initialization=same training.pretrain_epochs=0 "
    "training.local_epochs=2 training.batch_size=64 optimizer=sgd optimizer.lr=0.5 "
    "evaluate.every=1000 evaluate.save_models=false"
)


def run(peers: int, noise: float, seed: int, rounds: int, algorithm: str, output: str) -> dict[str, Any]:
    """Return the summary of a run with so much noise; 0 for none, and no clipping."""
    privacy = f"privacy.noise_multiplier={noise}" if noise else ""
    settings: dict[str, str | int] = {
        "algorithm": algorithm, "topology": "fully_connected", "model": "mlp", "seed": seed, "rounds": rounds,
        "output-dir": output, "overrides": f"{SETTINGS} {privacy}",
    }  # fmt: skip
    conf = find_conf_dir()
    post = LocalPost(peers, settings, conf)
    return load_summary(
        launch(settings, conf, "python -m benchmarks.privacy", lambda *relayed: run_relay(post, *relayed))
    )


def main() -> None:
    """Measure and print a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noise", type=float, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--peers", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--csv", type=Path, default=Path("results/privacy.csv"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    for plot in ("plot_accuracy", "plot_topology"):
        setattr(report_page, plot, lambda summary, path: path.write_bytes(b""))
    began = time.process_time()
    print("| noise multiplier | epsilon, delta 1e-5 | merging | alone |\n| ---: | ---: | ---: | ---: |", flush=True)
    with chosen.csv.open("w", newline="") as file, tempfile.TemporaryDirectory() as output:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(("seed", "noise_multiplier", "algorithm", "epsilon", "accuracy"))
        for noise in chosen.noise:
            accuracies: dict[str, list[float]] = {"weight_averaging": [], "local_only": []}
            spent = []
            for algorithm, seed in product(accuracies, chosen.seeds):
                summary = run(chosen.peers, noise, seed, chosen.rounds, algorithm, output)
                accuracies[algorithm].append(summary["final_accuracy"])
                epsilon = f"{summary['privacy']['epsilon']:.3f}" if noise else ""
                lines.writerow((seed, f"{noise:g}", algorithm, epsilon, f"{summary['final_accuracy']:.3f}"))
                file.flush()
                spent.append(epsilon)
            worst = f"{max(map(float, spent)):.2f}" if noise else "none"
            cells = " | ".join(told(found) for found in accuracies.values())
            print(f"| {noise:g} | {worst} | {cells} |", flush=True)
    print(f"\n{time.process_time() - began:.0f} s of a processor core")


if __name__ == "__main__":
    main()
