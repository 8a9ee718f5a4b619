"""The check that cannot lie: permute every group at random, and the network's output must not change."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from dimat_flwr.seeding import derive_seed
from dimat_flwr.symmetry.errors import SymmetryError
from dimat_flwr.symmetry.spec import PermutationSpec
from dimat_flwr.symmetry.tracing.program import operator_name
from dimat_flwr.symmetry.tracing.untouched import in_mode

_SAMPLES = 4  # statistics of fewer are ill-conditioned


def verify(model: nn.Module, spec: PermutationSpec, example_input: Tensor | tuple[Any, ...]) -> float:
    """Return the largest relative change of the network's output when every group is permuted at random.

    The network itself is run, not its trace, in eval mode and in its own precision. Its parameters are redrawn first
    and its running statistics measured on the example, because fresh networks hide errors behind BatchNorm's 0 and 1,
    zero-initialized layers and tiny layer scales. What only runs in training is checked too, with dropout off. The
    model is left as it was.

    Args:
        model: the network that ``spec`` was found on.
        spec: its specification.
        example_input: as for ``find_permutation_spec``.

    Returns:
        max |permuted - original| / max |original|, the largest over the outputs: about the rounding error of the
        network if the specification is right, of the order of 1 if it is wrong. Infinite if an output is not finite.
    """
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    generator = torch.Generator().manual_seed(derive_seed(0, purpose="verify"))
    batch = tuple(_varied(x, generator) for x in inputs)
    with torch.no_grad():
        state = randomized_state(model, batch, generator)
        permuted = spec.apply(state, spec.random(generator))
        with in_mode(model, train=False):
            error = _difference(lambda s: functional_call(model, dict(s), batch), state, permuted)
            if spec.training_only:
                for module in model.modules():
                    module.training = next(module.children(), None) is not None
                with _NoDropout():
                    error = max(error, _difference(lambda s: functional_call(model, dict(s), batch), state, permuted))
    return error


def randomized_state(model: nn.Module, batch: tuple[Any, ...], generator: torch.Generator) -> dict[str, Tensor]:
    """Return a state dict for the model with redrawn parameters and running statistics measured on ``batch``.

    Parameters are drawn so that signals keep their size (He et al. 2015) and no unit is like another; other buffers
    are copied.
    """
    parameters = {id(p) for p in model.parameters()}
    drawn: dict[int, Tensor] = {}
    state = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in drawn:
            own = id(tensor) in parameters
            drawn[id(tensor)] = _drawn(name, tensor.detach(), generator) if own else tensor.detach().clone()
        state[name] = drawn[id(tensor)]
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0  # the running statistics become those of this batch
        try:
            with in_mode(model, train=True), _NoDropout():
                functional_call(model, state, batch)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
        for name, tensor in state.items():
            if name.endswith("running_var"):  # a unit that hardly varies would be blown up, and rounding with it
                tensor += 0.1 * tensor.mean()
    return state


def _drawn(name: str, tensor: Tensor, generator: torch.Generator) -> Tensor:
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return tensor.clone()
    normal = torch.randn(tensor.shape, generator=generator).to(tensor)
    if tensor.ndim == 1 and name.endswith("weight"):
        return 1.0 + 0.3 * normal.clamp(-2, 2)
    fan_in = tensor[0].numel() if tensor.ndim > 1 else 1
    return normal * ((2.0 / fan_in) ** 0.5 if tensor.ndim > 1 else 0.1)


def _varied(x: Any, generator: torch.Generator) -> Any:
    """Return a batch of at least ``_SAMPLES`` different samples: copies with noise, or with their places rolled."""
    if not isinstance(x, Tensor) or x.ndim == 0 or x.shape[0] == 0:
        return x
    copies = [x.roll(i, -1) if x.ndim > 1 else x for i in range(max(1, _SAMPLES // x.shape[0]))]
    if not x.is_floating_point():
        return torch.cat(copies)
    return torch.cat([c + torch.randn(c.shape, generator=generator).to(c) for c in copies])


class _NoDropout(TorchFunctionMode):
    """Turns dropout into the identity: a mask drawn in one order of the units means another in another order."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if operator_name(func) in ("dropout", "dropout2d", "feature_dropout", "alpha_dropout"):
            return args[0]
        return func(*args, **(kwargs or {}))


def _difference(
    run: Callable[[Mapping[str, Tensor]], Any], state: Mapping[str, Tensor], other: Mapping[str, Tensor]
) -> float:
    before = [x for x in pytree.tree_leaves(run(state)) if isinstance(x, Tensor)]
    after = [x for x in pytree.tree_leaves(run(other)) if isinstance(x, Tensor)]
    if not before:
        raise SymmetryError("the network returns no tensor to compare")
    worst = 0.0
    for x, y in zip(before, after, strict=True):
        x, y = x.double(), y.double()
        if not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
            return float("inf")
        change, scale = float((x - y).abs().max()), float(x.abs().max())
        worst = max(worst, change / scale if scale > 0 else change)
    return worst
