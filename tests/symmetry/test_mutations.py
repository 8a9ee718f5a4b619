"""Specifications made wrong on purpose: whatever changes an output, the proof has to catch."""

import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from dimat_flwr.symmetry import AxisRef, PermutationSpec, find_permutation_spec
from dimat_flwr.symmetry.proving.prove import Prover
from dimat_flwr.symmetry.tracing.call import Call
from tests.symmetry.adversarial import CASES
from tests.symmetry.checks import largest_change
from tests.symmetry.networks import Attention, ConvNet, Gpt, ResNet20, SqueezeExcite, TextEncoder, mlp

NETWORKS = {
    "mlp": lambda: (mlp(), torch.randn(4, 3, 2, 2)),
    "resnet": lambda: (ResNet20("A", width=4), torch.randn(4, 3, 8, 8)),
    "conv": lambda: (
        ConvNet(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1, groups=2), nn.GroupNorm(2, 8)),
        torch.randn(4, 3, 6, 6),
    ),
    "excite": lambda: (ConvNet(SqueezeExcite(8), nn.PReLU(8)), torch.randn(4, 3, 6, 6)),
    "attention": lambda: (Attention("plain"), torch.randn(4, 6, 5)),
    "grouped": lambda: (Attention("grouped"), torch.randn(4, 6, 5)),
    "rotary": lambda: (Attention("rotary"), torch.randn(4, 6, 5)),
    "gpt": lambda: (Gpt(), torch.randint(0, 11, (4, 6))),
    "encoder": lambda: (TextEncoder(), torch.randint(0, 20, (4, 7))),
    "lstm": CASES["LSTM_bidirectional_deep"],
}  # fmt: skip


def mutated(spec: PermutationSpec, draw: random.Random) -> PermutationSpec | None:
    """Drop an axis, add one of another tensor, exchange two places, or two slots; ``None`` if it does not fit."""
    name = draw.choice(list(spec.groups))
    group = spec.groups[name]
    axes = list(group.axes)
    kind = draw.choice(["drop", "add", "places", "slots"])
    number = draw.randrange(len(axes)) if axes else 0
    if kind == "add":
        tensor = draw.choice([t for t, shape in spec.shapes.items() if shape])
        dim = draw.randrange(len(spec.shapes[tensor]))
        size = spec.shapes[tensor][dim]
        if size < group.units or group.parent is not None or any((a.tensor, a.dim) == (tensor, dim) for a in axes):
            return None
        start = draw.randrange(size - group.units + 1)
        axes.append(AxisRef(tensor, dim, torch.arange(start, start + group.units)[None], 1, "mutation"))
    elif not axes:
        return None
    elif kind == "drop":
        del axes[number]
    else:
        positions = axes[number].positions.clone()
        along = -1 if kind == "places" else 0
        if positions.shape[along] < 2:
            return None
        a, b = draw.sample(range(positions.shape[along]), 2)
        if along == 0:
            unit = draw.randrange(positions.shape[-1])
            positions[[a, b], ..., unit] = positions[[b, a], ..., unit]
        else:
            positions[..., [a, b]] = positions[..., [b, a]]
        axes[number] = replace(axes[number], positions=positions)
    return replace(spec, groups={**spec.groups, name: replace(group, axes=tuple(axes))})


def caught(name: str, count: int, seed: int) -> tuple[int, int, list[str]]:
    """Return (specifications, of which change an output, those of them that the proof lets pass)."""
    torch.manual_seed(seed)
    model, x = NETWORKS[name]()
    model, x = model.double(), x.double() if x.is_floating_point() else x
    spec = find_permutation_spec(model, x)
    prover = Prover(model, Call.to(model, x))
    draw = random.Random(seed)
    made, changing, missed = 0, 0, []
    while made < count:
        wrong = mutated(spec, draw)
        if wrong is None:
            continue
        made += 1
        if largest_change(model, wrong, x, seed + made) > 1e-8:
            changing += 1
            if prover.largest_change(wrong) <= prover.limit:
                missed.append(f"{name} {made}")
    return made, changing, missed


@pytest.mark.parametrize("name", ["conv", "attention"])
def test_wrong_specifications_are_caught(name):
    made, changing, missed = caught(name, 10, seed=1)
    assert missed == []
    assert changing >= made // 2


@pytest.mark.slow
def test_five_hundred_wrong_specifications_are_caught():
    counts = [caught(name, 50, seed=0) for name in NETWORKS]
    assert sum(made for made, _, _ in counts) == 500
    assert [m for _, _, missed in counts for m in missed] == []
    assert sum(changing for _, changing, _ in counts) > 300
    print(sum(changing for _, changing, _ in counts), "of 500 change an output")
