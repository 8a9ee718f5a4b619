"""Which networks can be trained with differential privacy: those in which every sample goes its own way."""

import torch
from torch import Tensor, nn

from dimat_flwr.learning.dp_library import GradSampleModule, ModuleValidator, without_warnings
from dimat_flwr.learning.mode import in_mode
from dimat_flwr.learning.randomness import seeded

_NAMED = 3  # layers in an error
_TOLERANCE = 1e-3  # relative; of sums of float32 in another order
_INSTEAD = "choose a network without them (model=mlp model.batchnorm=false), or with GroupNorm or LayerNorm"


def private_faults(network: nn.Module, example: Tensor) -> list[str]:
    """Return why a network cannot be trained so that no sample shows; empty where it can.

    Beside what opacus knows of layers, the network is run: buffers must stay as they are, a sample's scores must not
    depend on the others (for inputs that are no tokens), and the gradients of samples must sum to the gradient.

    Args:
        network: on the device of ``example``; it is left as it was.
        example: (B, ...), valid inputs, for their shape and type.
    """
    faults = _unsuitable_layers(network)
    if faults:
        return faults
    kept = {name: buffer.clone() for name, buffer in network.named_buffers()}
    try:
        with in_mode(network, training=True):
            return _changing_buffers(network, example, kept) or _mixed_samples(network, example) or _sums(
                network, example
            )  # fmt: skip
    finally:
        for name, buffer in network.named_buffers():
            buffer.copy_(kept[name])


def _unsuitable_layers(network: nn.Module) -> list[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for name, module in network.named_modules():
        for kind, check in ModuleValidator.VALIDATORS.items():
            if isinstance(module, kind):
                for error in check(module):
                    why = str(error).split(". ")[0]
                    found.setdefault((type(module).__name__, why), []).append(name)
    faults = [f"{kind} in {_listed(names)}: {why}; {_INSTEAD}" for (kind, why), names in found.items()]
    if not faults:
        faults = [f"{str(error).strip()}; {_INSTEAD}" for error in GradSampleModule.validate(network)]
    return faults


def _changing_buffers(network: nn.Module, example: Tensor, kept: dict[str, Tensor]) -> list[str]:
    with torch.no_grad(), seeded(0, example.device):
        network(_drawn(example, 0))
    changed = [name for name, buffer in network.named_buffers() if not torch.equal(buffer, kept[name])]
    return [f"buffers {_listed(changed)} change in training, without clipping or noise; {_INSTEAD}"] if changed else []


def _mixed_samples(network: nn.Module, example: Tensor) -> list[str]:
    """Look for layers that nobody told opacus of: do a sample's scores change with those beside it?"""
    first, other = _drawn(example, 0), _drawn(example, 1)
    other[0] = first[0]
    found = []
    with torch.no_grad():
        for inputs in (first, other):
            with seeded(0, example.device):
                found.append(network(inputs)[0].double())
    if float((found[0] - found[1]).norm()) <= _TOLERANCE * float(found[0].norm()):
        return []
    return [f"the scores of a sample depend on the other samples of its batch; {_INSTEAD}"]


def _sums(network: nn.Module, example: Tensor) -> list[str]:
    private = GradSampleModule(network, loss_reduction="sum")
    try:
        with seeded(0, example.device), without_warnings():
            private(_drawn(example, 0)).double().square().sum().backward()
        wrong = [name for name, own in network.named_parameters() if own.requires_grad and not _agrees(own)]
    finally:
        private.to_standard_module()
        for own in network.parameters():
            own.grad = None
    why = "opacus does not find the gradients of single samples, as where a layer's weights are used outside of it"
    return [f"parameters {_listed(wrong)}: {why}; {_INSTEAD}"] if wrong else []


def _agrees(own: nn.Parameter) -> bool:
    if own.grad is None:
        return True
    samples = own.grad_sample  # type: ignore[attr-defined]
    if not isinstance(samples, Tensor):
        return not bool(own.grad.any())
    return float((samples.sum(0) - own.grad).norm()) <= _TOLERANCE * float(samples.norm())


def _drawn(example: Tensor, seed: int) -> Tensor:
    """Return inputs that differ from each other; tokens, of which only the example's are known to be valid, stay."""
    if not example.is_floating_point():
        return example.clone()
    return torch.randn(example.shape, generator=torch.Generator().manual_seed(seed)).to(example)


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
