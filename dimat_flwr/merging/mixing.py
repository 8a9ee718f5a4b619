"""Weighted sums of state dicts, taken in one at a time."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor


class Mixture:
    """A weighted sum of named tensors; only the sum is held, never the summands.

    Floating-point and complex tensors are summed (half precision in float32). Others, such as BatchNorm's
    ``num_batches_tracked`` or index tables, are mine: there is no average of them.

    Args:
        mine: my tensors, any shapes; they are not changed.
        weight: my weight.
        keep: names whose tensors stay mine too.
    """

    def __init__(self, mine: Mapping[str, Tensor], weight: float, keep: Collection[str] = ()) -> None:
        self._types = {name: tensor.dtype for name, tensor in mine.items()}
        self._mixed = {
            name
            for name, tensor in mine.items()
            if name not in keep and (tensor.is_floating_point() or tensor.is_complex())
        }
        self._sum = {
            name: _wide(tensor.detach()) * weight if name in self._mixed else tensor.detach().clone()
            for name, tensor in mine.items()
        }

    def add(self, theirs: Mapping[str, Tensor], weight: float) -> None:
        """Add ``weight`` times a neighbour's tensors, which have the names and shapes of mine, on any device."""
        for name in self._mixed:
            total = self._sum[name]
            total.add_(theirs[name].detach().to(total.device, total.dtype), alpha=weight)

    def result(self) -> dict[str, Tensor]:
        """Return the sum in my tensors' types and order; the mixture is used up."""
        return {name: self._sum.pop(name).to(dtype) for name, dtype in self._types.items()}


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
