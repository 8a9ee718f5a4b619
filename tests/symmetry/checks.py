"""What holds for every network, checked on one."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dimat_flwr.symmetry import PermutationSpec, Tap, find_permutation_spec, verify
from dimat_flwr.symmetry.proving.draws import redrawn_state


def checked_spec(model: nn.Module, x: Tensor | tuple[Any, ...]) -> PermutationSpec:
    """Find the specification in float64 and check the symmetry, the traced pass and every tap."""
    model = model.double()
    inputs = x if isinstance(x, tuple) else (x,)
    inputs = tuple(i.double() if i.is_floating_point() else i for i in inputs)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    spec = find_permutation_spec(model, inputs)
    assert verify(model, spec, inputs) <= 1e-9
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    _check_taps(model, spec, inputs)
    return spec


def _check_taps(model: nn.Module, spec: PermutationSpec, inputs: tuple[Tensor, ...]) -> None:
    """Run another batch size than the example's, and compare what the taps show before and after permuting."""
    generator = torch.Generator().manual_seed(1)
    batch = tuple(torch.cat([i, i.flip(0), i.roll(1, -1)]) for i in inputs)
    state = redrawn_state(model, generator)
    permutation = spec.random(generator)
    model.eval()
    with torch.no_grad():
        expected = functional_call(model, state, batch)
        seen: dict[int, Tensor] = {}
        output = spec.traced.run(state, batch, lambda tap, a: seen.update({id(tap): tap.units(a).clone()}))
        torch.testing.assert_close(output, expected)
        assert len(seen) == len(spec.traced.taps) == sum(len(g.taps) for g in spec.groups.values())

        def compare(tap: Tap, activation: Tensor) -> None:
            group = spec.groups[tap.group]
            units, original = tap.units(activation), seen[id(tap)]
            assert units.ndim == 2 + len(group.shape)
            assert tuple(units.shape[1:-1]) == group.shape
            p = permutation[tap.group]
            wanted = original[:, p] if group.parent is None else original[:, permutation[group.parent][:, None], p]
            torch.testing.assert_close(units, wanted)

        spec.traced.run(spec.apply(state, permutation), batch, compare)


def sizes(spec: PermutationSpec) -> dict[str, tuple[int, ...]]:
    return {name: group.shape for name, group in spec.groups.items()}


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
                outputs.append(
                    [t for t in _leaves(functional_call(model, weights, (x.clone(),), tie_weights=False)) if t.numel()]
                )
        for before, after in zip(*outputs, strict=True):
            change = (before.double() - after.double()).abs().max() / before.double().abs().max().clamp(min=1e-300)
            worst = max(worst, float(change))
    return worst


def _leaves(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    values = output.values() if isinstance(output, dict) else output
    return [leaf for value in values for leaf in _leaves(value)]
