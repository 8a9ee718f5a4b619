"""Whether an output can change at all: what a deliberately wrong permutation does to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dimat_flwr.symmetry.proving.change import change
from dimat_flwr.symmetry.proving.draws import derangement
from dimat_flwr.symmetry.proving.running import Runner
from dimat_flwr.symmetry.spec import PermutationSpec

_VISIBLE = 1e-10  # of the output's own change over the batch; float64 rounds far below


@dataclass(frozen=True)
class Sensitivity:
    """What one redrawn network's output says about each group.

    Attributes:
        shown: groups of which permuting one tensor alone, which is wrong, would change the output.
        hidden: (group, matrix) of which it would not, such as a gate that is saturated.
    """

    shown: set[str] = field(default_factory=set)
    hidden: set[tuple[str, str]] = field(default_factory=set)

    @staticmethod
    def of(spec: PermutationSpec, gradients: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> "Sensitivity":
        """Compare, to first order, a network's output with what each wrong permutation would make of it."""
        result = Sensitivity()
        for name, group in spec.groups.items():
            tensors = {axis.tensor for axis in group.axes}
            tensors |= {axis.tensor for g in spec.groups.values() if g.parent == name for axis in g.axes}
            own = {t: state[t].detach() for t in tensors if t in gradients}
            moved = spec.apply_to(own, derangement(spec, torch.Generator().manual_seed(0), [name]))
            for tensor in sorted(own):
                first_order = float((gradients[tensor] * (moved[tensor] - own[tensor])).sum().abs())
                if first_order > _VISIBLE:
                    result.shown.add(name)
                elif own[tensor].ndim > 1:
                    result.hidden.add((name, tensor))
        return result

    def either(self, other: "Sensitivity") -> "Sensitivity":
        """Return what one or the other shows."""
        return Sensitivity(self.shown | other.shown, self.hidden & other.hidden)


def gradients(
    runner: Runner, state: Mapping[str, Tensor], parameters: frozenset[str], *, train: bool = False
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return the model's output, and the gradient of a random projection of it by every parameter it depends on.

    The projection is scaled to vary by about one over the batch. Empty where the forward pass records no gradients.
    """
    leaves = {id(t): t.detach().requires_grad_() for n, t in state.items() if n in parameters and t.is_floating_point()}
    with_grad = {n: leaves.get(id(t), t) for n, t in state.items()}
    outputs = runner.model(with_grad, grad=True, train=train)
    recorded = [x for x in outputs if x.requires_grad and x.is_floating_point()]
    if not recorded:
        return outputs, {}
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros((), dtype=torch.float64)
    for x in recorded:
        x = x.double().where(torch.isfinite(x), 0.0)
        direction = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
        projected = x * direction
        centred = (x - x.mean(0)).detach() if x.ndim and x.shape[0] > 1 else x.detach()
        total = total.to(x) + projected.sum() / centred.norm().clamp(min=1e-30)
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    by_leaf = {id(leaf): g for leaf, g in zip(leaves.values(), found, strict=True) if g is not None}
    return outputs, {n: by_leaf[id(t)] for n, t in with_grad.items() if id(t) in by_leaf}


def shown_by_running(spec: PermutationSpec, runner: Runner, state: Mapping[str, Tensor], name: str) -> bool:
    """Whether the output changes when one tensor of a group is permuted and the others are not."""
    before = runner.model(state)
    permutation = derangement(spec, torch.Generator().manual_seed(0), [name])
    children = [g for g in spec.groups.values() if g.parent == name]
    for tensor in dict.fromkeys(axis.tensor for g in (spec.groups[name], *children) for axis in g.axes):
        moved = spec.apply_to({tensor: state[tensor]}, permutation)[tensor]
        if change(before, runner.model({**state, tensor: moved})) > _VISIBLE:
            return True
    return False
