"""Optimizers: one step each equals the formula, and yamls and classes agree."""

import dataclasses
import importlib
from pathlib import Path

import pytest
import torch
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from pydantic import ValidationError

from dimat_flwr.learning import OptimizerSource
from dimat_flwr.learning.optimizers.adam import Adam
from dimat_flwr.learning.optimizers.adamw import AdamW
from dimat_flwr.learning.optimizers.amsgrad import AmsGrad
from dimat_flwr.learning.optimizers.momentum import Momentum
from dimat_flwr.learning.optimizers.sgd import Sgd

ROOT = Path(__file__).parents[2]
YAMLS = sorted((ROOT / "conf" / "optimizer").glob("*.yaml"))
GRADIENTS = [3.0, 0.5, -1.0]


def walk(source, x=2.0):
    """Take one step per gradient and return where a single weight ends up."""
    weight = torch.nn.Parameter(torch.tensor([x], dtype=torch.float64))
    optimizer = source.build([weight])
    for g in GRADIENTS:
        weight.grad = torch.tensor([g], dtype=torch.float64)
        optimizer.step()
    return weight.item()


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: p.stem)
def test_yaml_and_class_agree(path):
    config = OmegaConf.load(path)
    part = instantiate(config)
    assert isinstance(part, OptimizerSource)
    assert part == type(part)()
    assert set(config) == {f.name for f in dataclasses.fields(type(part))} | {"_target_"}


def test_every_class_has_a_yaml():
    for path in (ROOT / "dimat_flwr" / "learning" / "optimizers").glob("*.py"):
        importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    found, waiting = set(), [OptimizerSource]
    while waiting:
        subclasses = waiting.pop().__subclasses__()
        found |= {c for c in subclasses if c.__module__.startswith("dimat_flwr.")}
        waiting += subclasses
    assert found == {get_class(OmegaConf.load(p)._target_) for p in YAMLS}


def test_sgd_with_weight_decay():
    x = 2.0
    for g in GRADIENTS:
        x -= 0.1 * (g + 0.01 * x)
    assert walk(Sgd(lr=0.1, weight_decay=0.01)) == pytest.approx(x, abs=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum(nesterov):
    x, v = 2.0, 0.0
    for g in GRADIENTS:
        v = 0.8 * v + g
        x -= 0.05 * (g + 0.8 * v if nesterov else v)
    assert walk(Momentum(lr=0.05, momentum=0.8, nesterov=nesterov)) == pytest.approx(x, abs=1e-12)


@pytest.mark.parametrize("cls", [Adam, AmsGrad, AdamW])
def test_adam_and_its_kin(cls):
    lr, b1, b2, eps, decay = 0.1, 0.8, 0.5, 1e-3, 0.05
    x, m, v, largest = 2.0, 0.0, 0.0, 0.0
    for t, g in enumerate(GRADIENTS, start=1):
        if cls is AdamW:
            x -= lr * decay * x
        else:
            g = g + decay * x
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        largest = max(largest, v) if cls is AmsGrad else v
        x -= lr * (m / (1 - b1**t)) / ((largest / (1 - b2**t)) ** 0.5 + eps)
    assert walk(cls(lr=lr, betas=(b1, b2), eps=eps, weight_decay=decay)) == pytest.approx(x, abs=1e-12)


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (Sgd, {"lr": 0}),
        (Sgd, {"lr": float("inf")}),
        (Sgd, {"momentum": 0.9}),
        (Momentum, {"momentum": 1.0}),
        (Adam, {"betas": (0.9,)}),
        (Adam, {"betas": (0.9, 1.0)}),
        (AdamW, {"weight_decay": -1}),
    ],
)
def test_wrong_settings_are_refused(cls, fields):
    with pytest.raises(ValidationError, match=next(iter(fields))):
        cls(**fields)
