"""Trace and verify every classification network of torchvision, and write docs/coverage.md.

Run from the repository's root: ``python benchmarks/coverage.py`` (all networks, about half an hour on two cores), or
``python benchmarks/coverage.py resnet18 vit_b_16`` to see some of them without writing the file. Each network runs in
a process of its own, so that the largest leave no memory behind.
"""

import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torchvision import models

from dimat_flwr.symmetry import find_permutation_spec, verify

TARGET = Path("docs/coverage.md")
SIZES = {"inception_v3": 299, "maxvit_t": 224, "vit_b_16": 224, "vit_b_32": 224, "vit_l_16": 224, "vit_l_32": 224,
         "vit_h_14": 224}  # fmt: skip
SMALL_SIZE = 64
DOUBLE_UP_TO = 320_000_000  # parameters; beyond, four copies in float64 do not fit a small machine
LIMITS = {"float32": 1e-4, "float64": 1e-9}

HEAD = """# Coverage: torchvision's classification networks

Written by `python benchmarks/coverage.py`; not to be edited by hand.

Every network of `torchvision.models.list_models(module=torchvision.models)`, with random weights, is traced on one
image, and all its groups are permuted at random. *Share* is the part of the parameters that lie on at least one
permutable axis (what remains are biases and normalizations of class scores, and parameters that a group of one unit
leaves nothing to exchange). *Error* is `dimat_flwr.symmetry.verify`: the largest change of the network's output
relative to the largest output, the parameters redrawn and the BatchNorm statistics measured so that nothing hides
behind zeros and ones, auxiliary classifiers included. It has to be at most 1e-4 in float32 and 1e-9 in float64.
Float64 is left out (-) above {double} million parameters, where four copies do not fit into the memory of a small
machine. *Seconds* are those of `find_permutation_spec` on one core.

torch {torch}, {count} networks, largest error {single:.1e} in float32 and {double_error:.1e} in float64, smallest
share {share:.2%}.

| network | input | parameters (M) | groups | share | error float32 | error float64 | seconds | warnings |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |
"""


def measure(name: str) -> dict[str, Any]:
    """Trace and verify one network; return its row."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    options: dict[str, Any] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = models.get_model(name, weights=None, **options)
    size = SIZES.get(name, SMALL_SIZE)
    image = torch.randn(1, 3, size, size)
    started = time.perf_counter()
    spec = find_permutation_spec(model, image)
    seconds = time.perf_counter() - started
    count = sum(p.numel() for p in model.parameters())
    single = verify(model, spec, image)
    double = verify(model.double(), spec, image.double()) if count <= DOUBLE_UP_TO else None
    return {
        "name": name, "size": size, "parameters": count, "groups": len(spec.groups), "share": spec.permutable_share,
        "float32": single, "float64": double, "seconds": seconds, "warnings": list(spec.warnings),
    }  # fmt: skip


def measure_apart(name: str) -> dict[str, Any]:
    """Return one network's row, measured in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--row", name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    double = "-" if row["float64"] is None else f"{row['float64']:.1e}"
    return (
        f"| {row['name']} | {row['size']} | {row['parameters'] / 1e6:.1f} | {row['groups']} | {row['share']:.2%} | "
        f"{row['float32']:.1e} | {double} | {row['seconds']:.2f} | {'; '.join(row['warnings']) or 'none'} |"
    )


def main(names: list[str]) -> None:
    """Measure all networks, or those named."""
    if names[:1] == ["--row"]:
        print(json.dumps(measure(names[1])))
        return
    rows = []
    for name in names or models.list_models(module=models):
        rows.append(measure_apart(name))
        print(line(rows[-1]), flush=True)
    doubles = [row["float64"] for row in rows if row["float64"] is not None]
    if max(row["float32"] for row in rows) > LIMITS["float32"] or max(doubles, default=0) > LIMITS["float64"]:
        raise SystemExit("an error is above its limit: the specification of that network is wrong")
    if names:
        return
    head = HEAD.format(
        double=DOUBLE_UP_TO // 1_000_000, torch=torch.__version__, count=len(rows), double_error=max(doubles),
        single=max(row["float32"] for row in rows), share=min(row["share"] for row in rows),
    )  # fmt: skip
    TARGET.write_text(head + "\n".join(map(line, rows)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
