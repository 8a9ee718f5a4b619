"""Accuracy against epsilon: differential privacy of each sample, on digits, with several amounts of noise.

    python benchmarks/privacy.py [--noise 0 1 2 ...] [--seeds 0 1 2] [--peers 5] [--rounds 10]

Prints a Markdown table: epsilon of the whole run (the largest of the peers'), final accuracy on all test samples in
percent, mean over the peers and the seeds, and its standard deviation over the seeds. Noise 0 is training without
privacy, by the same optimizer.
"""

import argparse
import logging
import tempfile
import time
from typing import Any

import numpy as np
import torch

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
    return load_summary(launch(settings, conf, "benchmarks/privacy.py", lambda *relayed: run_relay(post, *relayed)))


def main() -> None:
    """Measure and print a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noise", type=float, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--peers", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=10)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    for plot in ("plot_accuracy", "plot_topology"):
        setattr(report_page, plot, lambda summary, path: path.write_bytes(b""))
    began = time.process_time()
    print("| noise multiplier | epsilon, delta 1e-5 | merging | alone |\n| ---: | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory() as output:
        for noise in chosen.noise:
            cells, epsilon = [], "none"
            for algorithm in ("weight_averaging", "local_only"):
                found = [run(chosen.peers, noise, seed, chosen.rounds, algorithm, output) for seed in chosen.seeds]
                accuracy = [summary["final_accuracy"] for summary in found]
                cells.append(f"{np.mean(accuracy):.1f} ± {np.std(accuracy):.1f}")
                if noise:
                    epsilon = f"{max(summary['privacy']['epsilon'] for summary in found):.2f}"
            print(f"| {noise:g} | {epsilon} | {' | '.join(cells)} |", flush=True)
    print(f"\n{time.process_time() - began:.0f} s of a processor core")


if __name__ == "__main__":
    main()
