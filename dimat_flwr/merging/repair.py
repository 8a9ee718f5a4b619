"""REPAIR: restores the variance that averaging takes from the hidden units of networks without BatchNorm.

Source: Jordan, Sedghi, Saukh, Entezari and Neyshabur 2022 (https://arxiv.org/abs/2211.08403), sec. 4: every hidden
unit's preactivation in the merged network gets the mean and the standard deviation that its ancestors' have, weighted
as the ancestors are. One pass corrects all layers, each normalizing with the batch's own moments so that it sees its
predecessors corrected; the corrections are then folded into the layers' weights.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dimat_flwr.merging.batchnorm import device_of, inputs_on, running_statistics, with_state
from dimat_flwr.merging.check import Batch, MergeError, nonempty
from dimat_flwr.symmetry import PermutationSpec

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

# Layer name -> (2, units) float64: each unit's mean and standard deviation over samples and positions.
Moments = dict[str, Tensor]
Observe = Callable[[str, Tensor], Tensor | None]


class Repair:
    """Collects the ancestors' moments one network at a time, then corrects the merged network.

    Args:
        model: gives architecture and device; its weights are not used.
        spec: its permutation groups: layers whose outputs are in one are hidden, the others are left alone.
        batches: my input batches, read once per ancestor and once for the correction.

    Raises:
        MergeError: the network has BatchNorm statistics, whose recalibration does the same.
    """

    def __init__(self, model: nn.Module, spec: PermutationSpec, batches: Iterable[Batch]) -> None:
        if running_statistics(model):
            raise MergeError(
                "variance repair is for networks without BatchNorm: set repair=False and batchnorm='recalibrate'."
            )
        permuted = {axis.tensor for group in spec.groups.values() for axis in group.axes if axis.dim == 0}
        self._layers = [
            name for name, layer in model.named_modules() if isinstance(layer, _LAYERS) and f"{name}.weight" in permuted
        ]
        self._model = model
        self._batches = batches
        self._target: Moments = {}

    def add_ancestor(self, state: Mapping[str, Tensor], weight: float) -> None:
        """Measure one network that goes into the mix.

        Args:
            state: its state dict, aligned to mine.
            weight: its mixing weight, >= 0.

        Raises:
            MergeError: the weight is negative, or there are no batches.
        """
        if weight < 0:
            raise MergeError(f"variance repair needs mixing weights >= 0, but one is {weight}.")
        means: dict[str, list[Tensor]] = {}

        def observe(name: str, units: Tensor) -> None:
            means.setdefault(name, []).append(_moments_of(units))

        self._run(with_state(self._model, state), observe)
        for name, found in _pooled(means).items():
            self._target[name] = self._target.get(name, 0) + weight * found

    def correct(self, merged: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the merged state dict with its hidden layers rescaled and shifted; ``merged`` stays as it is.

        A layer without bias is rescaled only. Units that never vary, in the mix or in all ancestors, are left alone.
        """
        corrected = dict(merged)
        network = with_state(self._model, merged)
        layers = dict(network.named_modules())
        measured: dict[str, list[Tensor]] = {}

        def normalize(name: str, units: Tensor) -> Tensor:
            moments = _moments_of(units)
            measured.setdefault(name, []).append(moments)
            scale, shift = self._affine(name, moments, layers[name].bias is not None)
            return units * scale.to(units.dtype)[:, None] + shift.to(units.dtype)[:, None]

        self._run(network, normalize)
        for name, moments in _pooled(measured).items():
            weight, bias = merged[f"{name}.weight"], merged.get(f"{name}.bias")
            scale, shift = self._affine(name, moments, bias is not None)
            corrected[f"{name}.weight"] = weight * scale.to(weight.dtype).reshape(-1, *[1] * (weight.ndim - 1))
            if bias is not None:
                corrected[f"{name}.bias"] = bias * scale.to(bias.dtype) + shift.to(bias.dtype)
        return corrected

    def _affine(self, name: str, moments: Tensor, bias: bool) -> tuple[Tensor, Tensor]:
        """Return the scale and shift (units,) that take a unit's preactivation from ``moments`` to the target."""
        (mean, deviation), (wanted_mean, wanted_deviation) = moments, self._target[name]
        alive = (deviation > 1e-6 * mean.abs()) & (wanted_deviation > 0)
        scale = torch.where(alive, wanted_deviation / torch.where(alive, deviation, 1.0), 1.0)
        shift = torch.where(alive, wanted_mean - scale * mean, 0.0) if bias else torch.zeros_like(mean)
        return scale, shift

    def _run(self, network: nn.Module, observe: Observe) -> None:
        device = device_of(self._model)
        network.eval()
        with torch.no_grad(), _watching(network, self._layers, observe):
            for batch in nonempty(self._batches, "variance repair"):
                network(*inputs_on(batch, device))


@contextmanager
def _watching(network: nn.Module, layers: Iterable[str], observe: Observe) -> Iterator[None]:
    """Call ``observe`` with (name, (samples, units, positions)) of each layer's output; what it returns replaces it."""
    modules = dict(network.named_modules())

    def hook(name: str) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
        def seen(layer: nn.Module, inputs: object, output: Tensor) -> Tensor | None:
            last = isinstance(layer, nn.Linear)
            units = output.movedim(-1, 1) if last else output
            replaced = observe(name, units.flatten(2) if units.ndim > 2 else units[:, :, None])
            if replaced is None:
                return None
            replaced = replaced.reshape(units.shape)
            return replaced.movedim(1, -1) if last else replaced

        return seen

    handles = [modules[name].register_forward_hook(hook(name)) for name in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _moments_of(units: Tensor) -> Tensor:
    variance, mean = torch.var_mean(units.double(), dim=(0, 2), correction=0)
    return torch.stack([mean, variance.sqrt()])


def _pooled(batches: Mapping[str, list[Tensor]]) -> Moments:
    """Pool the batches' moments into one mean and one deviation per unit; every batch counts the same."""
    pooled = {}
    for name, found in batches.items():
        mean, deviation = torch.stack(found).unbind(1)
        variance = deviation.square().mean(0) + mean.var(0, correction=0)
        pooled[name] = torch.stack([mean.mean(0), variance.sqrt()])
    return pooled
