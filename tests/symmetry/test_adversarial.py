"""No adversarial network may be given a wrong permutation, and none may be changed by being looked at."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from dimat_flwr.symmetry import PermutationSpec, TraceError, find_permutation_spec
from tests.symmetry.adversarial import CASES


def largest_change(model: nn.Module, spec: PermutationSpec, x: Any, seed: int) -> float:
    """Permute all units of a few redrawn networks; return the largest change of any output's element.

    Shares no code with ``verify``: other draws, every group deranged by a rotation, absolute and relative change.
    """
    generator = torch.Generator().manual_seed(seed)
    indices = {}
    for name, group in spec.groups.items():
        shift = int(torch.randint(1, max(2, group.units), (), generator=generator))
        indices[name] = torch.arange(group.units).roll(shift).expand(group.shape).contiguous()
    permutation = spec.permutation(indices)
    worst = 0.0
    model.eval()
    for scale in (0.3, 1.0):
        state = {
            name: t + scale * torch.randn(t.shape, generator=generator, dtype=t.dtype).abs()
            if t.is_floating_point()
            else t.reshape(-1)[torch.randperm(t.numel(), generator=generator)].view(t.shape)  # may differ by model
            for name, t in model.state_dict().items()
        }
        moved = spec.apply(state, permutation)
        outputs = []
        for weights in (state, moved):
            weights = {name: t.clone() for name, t in weights.items()}
            with torch.no_grad():
                outputs.append([t for t in _leaves(functional_call(model, weights, (x.clone(),))) if t.numel()])
        for before, after in zip(*outputs, strict=True):
            change = (before.double() - after.double()).abs().max() / before.double().abs().max().clamp(min=1e-300)
            worst = max(worst, float(change))
    return worst


def _leaves(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    values = output.values() if isinstance(output, dict) else output
    return [leaf for value in values for leaf in _leaves(value)]


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


@pytest.mark.parametrize("name", list(CASES))
def test_adversarial_network(name):
    check(name, 0)
