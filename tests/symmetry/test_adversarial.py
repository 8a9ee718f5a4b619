"""No adversarial network may be given a wrong permutation, and none may be changed by being looked at."""

from typing import Any

import pytest
import torch
from torch import nn

from dimat_flwr.symmetry import PermutationSpec, TraceError, find_permutation_spec
from tests.symmetry.adversarial import CASES
from tests.symmetry.checks import largest_change


def _snapshot(model: nn.Module) -> list[Any]:
    kept: list[Any] = [(name, t.clone()) for name, t in (*model.named_parameters(), *model.named_buffers())]
    for module in model.modules():
        plain = {k: v for k, v in vars(module).items() if not k.startswith("_")}
        kept.append(
            {k: (list(v) if isinstance(v, list) else dict(v) if isinstance(v, dict) else v) for k, v in plain.items()}
        )
    return kept


def check(name: str, seed: int, **options: Any) -> PermutationSpec | None:
    torch.manual_seed(seed)
    model, x = CASES[name]()
    model, x = model.double(), x.double()
    before, random_state = _snapshot(model), torch.get_rng_state()
    try:
        spec = find_permutation_spec(model, x, **options)
    except TraceError:
        spec = None
    after = _snapshot(model)
    assert torch.equal(random_state, torch.get_rng_state())
    for a, b in zip(before, after, strict=True):
        if isinstance(a, tuple):
            assert a[0] == b[0]
            assert torch.equal(a[1], b[1]), f"{a[0]} was changed"
        else:
            assert a == b
    if spec is not None:
        assert largest_change(model, spec, x, seed) <= 1e-8
    return spec


# Every eighth of them is tried each time, all of them with two seeds in the whole suite.
@pytest.mark.parametrize(
    "name", [name if k % 8 == 0 else pytest.param(name, marks=pytest.mark.slow) for k, name in enumerate(CASES)]
)
def test_adversarial_network(name):
    check(name, 0)


@pytest.mark.slow
def test_adversarial_networks_with_another_seed():
    assert len(CASES) >= 100
    wrong = []
    for name in CASES:
        try:
            check(name, 1)
        except AssertionError as error:
            wrong.append((name, str(error)[:200]))
    assert wrong == []
