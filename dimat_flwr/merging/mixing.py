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
        wide = {name: _wide(tensor.detach()) for name, tensor in mine.items() if name in self._mixed}
        # All tensors in one call: a call for each costs more than the sum does.
        scaled = dict(zip(wide, torch._foreach_mul(list(wide.values()), weight), strict=True)) if wide else {}
        self._sum = {name: scaled[name] if name in scaled else own.detach().clone() for name, own in mine.items()}

    def add(self, theirs: Mapping[str, Tensor], weight: float) -> None:
        """Add ``weight`` times a neighbour's tensors, which have the names and shapes of mine, on any device."""
        totals = [self._sum[name] for name in self._mixed]
        added = [
            theirs[name].detach().to(total.device, total.dtype) for name, total in zip(self._mixed, totals, strict=True)
        ]
        if totals:
            torch._foreach_add_(totals, added, alpha=weight)

    def result(self) -> dict[str, Tensor]:
        """Return the sum in my tensors' types and order; the mixture is used up."""
        return {name: self._sum.pop(name).to(dtype) for name, dtype in self._types.items()}


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
