"""Score a run's saved models again, by other code than the run's, and compare with what the run reported.

python benchmarks/score.py RUN_FOLDER

Nothing of dimat_flwr is imported: the test set is cut out of scikit-learn's digits here, the network is rebuilt from
the shapes in the file, and everything is computed in float64 by the plainest formula. It prints each peer's accuracy,
what the peer reported and the difference. It ends with 1 if any of them, or the mean in ``final_accuracy``, differs by
more than 0.01 %, or a file is not the one that was reported; with 2 if there is nothing that can be scored. It is for
runs on ``dataset: digits`` with ``model: digits_cnn`` in float32: an image that two classes share to the last digits
may fall to either side, and in bfloat16 many do.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import load
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, linear, max_pool2d

TOLERANCE = 0.01  # percent


def held_out_digits(mean: float, std: float) -> tuple[Tensor, Tensor]:
    """Return the test images (N, 1, 8, 8), float64 and normalized, and their labels (N,): a fifth of every class."""
    digits = load_digits()
    generator = np.random.default_rng(0)
    chosen: list[int] = []
    for label in range(10):
        members = generator.permutation(np.flatnonzero(digits.target == label))
        chosen.extend(members[: round(len(members) / 5)])
    chosen.sort()
    # Images are kept in bytes: grey levels 0..16 become 0..255.
    pixels = np.round(digits.data[chosen] * 255 / 16) / 255
    return torch.from_numpy((pixels - mean) / std).view(-1, 1, 8, 8), torch.from_numpy(digits.target[chosen])


def class_scores(state: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Return (N, 10): three times convolution, BatchNorm by its running statistics and ReLU; mean over places; linear.

    Args:
        state: a state dict whose convolutions and BatchNorms are numbered as in ``features``, an nn.Sequential.
        images: (N, 1, 8, 8).
    """
    state = {name: tensor.double() for name, tensor in state.items()}
    places = sorted({int(name.split(".")[1]) for name in state if name.startswith("features.")})
    x = images
    for convolution, normalization in zip(places[0::2], places[1::2], strict=True):
        weight = state[f"features.{convolution}.weight"]
        x = conv2d(x, weight, padding=weight.shape[-1] // 2)
        mean, var, scale, shift = (
            state[f"features.{normalization}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
        )
        x = batch_norm(x, mean, var, scale, shift).relu()
        if convolution == places[2]:
            x = max_pool2d(x, 2)
    return linear(x.mean(dim=(2, 3)), state["classifier.weight"], state["classifier.bias"])


def main(folder: Path) -> int:
    """Print the comparison and return the exit code."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    scorable = summary["dataset"] == "digits" and summary["model"] == "digits_cnn"
    if not scorable or config["dataset"]["test_samples"] is not None or not summary["final"]:
        print(f"{folder}: no final models of digits_cnn on the whole test set of digits", file=sys.stderr)
        return 2
    images, labels = held_out_digits(config["dataset"]["mean"][0], config["dataset"]["std"][0])
    print("peer  scored %  reported %  difference")
    worst, found, files_fit = 0.0, [], True
    for final in summary["final"]:
        blob = (folder / final["file"]).read_bytes()
        same = hashlib.sha256(blob).hexdigest() == final["sha256"] and len(blob) == final["bytes"]
        right = (class_scores(load(blob), images).argmax(1) == labels).double().mean()
        found.append(100 * float(right))
        files_fit &= same
        worst = max(worst, _line(str(final["peer"]), found[-1], final, "" if same else "  not the file reported"))
    total = {"accuracy": summary["final_accuracy"]}
    worst = max(worst, _line("mean", sum(found) / len(found), total, f"  of {summary['final_peers']['reported']}"))
    return int(worst > TOLERANCE or not files_fit or len(found) != summary["final_peers"]["reported"])


def _line(name: str, scored: float, reported: Mapping[str, Any], remark: str) -> float:
    """Print one line of the table and return the difference; what was not reported differs without bound."""
    told = reported["accuracy"]
    difference = scored - told if told is not None else float("inf")
    print(f"{name:>4}  {scored:8.4f}  {'none' if told is None else f'{told:.4f}':>10}  {difference:+10.4f}{remark}")
    return float(abs(difference))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
