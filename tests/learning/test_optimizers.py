"""Optimizers: one step each equals the formula, and yamls and classes agree."""

import dataclasses
import importlib
from pathlib import Path

import pytest
import torch
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from pydantic import ValidationError

from dimat_flwr.learning import Optimizer
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
    assert isinstance(part, Optimizer)
    assert part == type(part)()
    assert set(config) == {f.name for f in dataclasses.fields(type(part))} | {"_target_"}


def test_every_class_has_a_yaml():
    # From the files, not from __subclasses__(): other tests of the same process may have defined more.
    found = set()
    for path in (ROOT / "dimat_flwr" / "learning" / "optimizers").glob("*.py"):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        own = (c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__)
        found |= {c for c in own if issubclass(c, Optimizer)}
    assert {cls.__name__ for cls in found if cls.plain_step} == {"Sgd"}
    assert found - {Optimizer} == {get_class(OmegaConf.load(p)._target_) for p in YAMLS}


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


def torchs(source, params):
    """Return torch's own optimizer with the same settings."""
    common = {"lr": source.lr, "weight_decay": source.weight_decay}
    if isinstance(source, Sgd):
        return torch.optim.SGD(params, **common)
    if isinstance(source, Momentum):
        return torch.optim.SGD(params, **common, momentum=source.momentum, nesterov=source.nesterov)
    common |= {"betas": source.betas, "eps": source.eps}
    if isinstance(source, AdamW):
        return torch.optim.AdamW(params, **common)
    return torch.optim.Adam(params, **common, amsgrad=isinstance(source, AmsGrad))


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(
    "source", [Sgd(), Momentum(), Momentum(nesterov=True), Adam(lr=0.1), AdamW(lr=0.1), AmsGrad(lr=0.1)], ids=str
)
def test_weights_and_state_are_torchs(source, decay):
    source = dataclasses.replace(source, weight_decay=decay)
    draws = torch.Generator().manual_seed(0)
    start = [torch.randn(4, 3, generator=draws), torch.randn((), generator=draws), torch.randn(2, generator=draws)]
    ours, theirs = ([torch.nn.Parameter(x.clone()) for x in start] for _ in range(2))
    one, other = source.build(ours), torchs(source, theirs)
    for step in range(5):
        one.zero_grad()
        assert all(mine.grad is None for mine in ours)
        other.zero_grad()
        for mine, its in zip(ours[: 2 + step % 2], theirs, strict=False):  # the last has a gradient every other time
            mine.grad = torch.randn(mine.shape, generator=draws)
            its.grad = mine.grad.clone()
        gradients = [None if mine.grad is None else mine.grad.clone() for mine in ours]
        one.step()
        other.step()
        for mine, its, gradient in zip(ours, theirs, gradients, strict=True):
            assert gradient is None or torch.equal(mine.grad, gradient)
            torch.testing.assert_close(mine, its, rtol=1e-6, atol=1e-7)
    for mine, its in zip(ours, theirs, strict=True):
        expected = {name: value for name, value in other.state[its].items() if value is not None}
        assert set(one.state.get(mine, {})) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(one.state[mine][name], value, rtol=1e-6, atol=1e-7)


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
