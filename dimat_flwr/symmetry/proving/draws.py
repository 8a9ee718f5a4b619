"""What a proof is made with: other weights, other samples, and permutations that leave no unit where it is."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dimat_flwr.symmetry.permutation import Permutation
from dimat_flwr.symmetry.spec import PermutationSpec
from dimat_flwr.symmetry.tracing.call import Call, at_least_two


def redrawn_state(
    model: nn.Module, generator: torch.Generator, scale: float = 1.0, *, double: bool = True, near: bool = False
) -> dict[str, Tensor]:
    """Return every parameter and buffer by name, the parameters redrawn.

    Signals keep their size (He et al. 2015) and no unit is like another: fresh networks hide errors behind zeros and
    ones, zero-initialized layers and tiny layer scales. Buffers are copies of the model's; those that are not saved
    are among them, so that running the model changes none of its own.

    Args:
        model: the network.
        generator: of the CPU.
        scale: factor of all matrices and biases.
        double: return all floats in float64, else as the model has them.
        near: stay within a few percent of the model's own parameters.
    """
    drawn: dict[int, Tensor] = {}
    state = {}
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    for name, tensor in named:
        if id(tensor) not in drawn:
            own = isinstance(tensor, nn.Parameter)
            value = _drawn(name, tensor, generator, scale) if own and not near else _double(tensor.detach().clone())
            if own and near and value.is_floating_point():
                value *= 1 + 0.05 * torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value.device)
            drawn[id(tensor)] = value if double else value.to(tensor.dtype)
        state[name] = drawn[id(tensor)]
    return state


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _drawn(name: str, tensor: Tensor, generator: torch.Generator, scale: float) -> Tensor:
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return tensor.detach().clone()
    normal = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)
    if tensor.ndim == 1 and name.endswith("weight"):
        return 1.0 + 0.3 * normal.clamp(-2, 2)
    fan_in = tensor[0].numel() if tensor.ndim > 1 else 1
    return normal.mul_(scale * ((2.0 / fan_in) ** 0.5 if tensor.ndim > 1 else 0.1))


def redraw_statistics(model: nn.Module, state: dict[str, Tensor], generator: torch.Generator) -> None:
    """Move every BatchNorm statistic of a state away from what was measured, each unit's by its own amount."""
    for prefix, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            mean, variance = (state[f"{prefix}.{n}" if prefix else n] for n in ("running_mean", "running_var"))
            variance += 0.1 * variance.mean()  # a unit that hardly varies would be blown up, and rounding with it
            noise = torch.randn((2, *mean.shape), generator=generator, dtype=torch.float64).to(mean)
            mean += 0.2 * noise[0] * variance.sqrt()
            variance *= (0.3 * noise[1]).exp()


def varied(call: Call, generator: torch.Generator, *, near: bool = False) -> Call:
    """Return a call of at least two different samples: with noise, or with their places rolled; floats in float64.

    With ``near`` the noise is a few percent of each number.
    """
    call = at_least_two(call)
    samples = call.samples

    def vary(x: object) -> object:
        if not isinstance(x, Tensor) or x.ndim == 0 or x.shape[0] != samples:
            return _double(x).clone() if isinstance(x, Tensor) else x
        if x.is_floating_point():
            noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device)
            return x.double() * (1 + 0.05 * noise.clamp(-2, 2)) if near else x.double() + noise
        return torch.stack([row.roll(i, -1) if row.ndim else row for i, row in enumerate(x)])

    return call.map(vary)


def repeated(call: Call, generator: torch.Generator, copies: int) -> Call:
    """Return a call with several noisy copies of each sample: statistics of few samples are ill-conditioned."""
    samples = call.samples

    def repeat(x: object) -> object:
        if not isinstance(x, Tensor) or x.ndim == 0 or x.shape[0] != samples:
            return x
        many = torch.cat([x] * copies)
        if not x.is_floating_point():
            return many
        noise = torch.randn(many.shape, generator=generator, dtype=torch.float64).to(x)
        return many * (1 + 0.1 * noise.clamp(-2, 2))

    return call.map(repeat)


def derangement(spec: PermutationSpec, generator: torch.Generator, groups: Iterable[str] | None = None) -> Permutation:
    """Return a permutation that leaves no unit of the given groups (default: all) where it is; others stay.

    Every row is one cycle through all its units (Sattolo, 1986). A row of one unit has nowhere to go.
    """
    chosen = set(spec.groups if groups is None else groups)
    indices = dict(spec.identity())
    for name in spec.groups:
        if name in chosen:
            order = torch.argsort(torch.rand(spec.groups[name].shape, generator=generator))
            indices[name] = torch.empty_like(order).scatter_(-1, order, order.roll(-1, -1))
    return spec.permutation(indices)
