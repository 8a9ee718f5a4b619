"""How much an output changed, so that nothing about the output can hide it."""

from collections.abc import Sequence

import torch
from torch import Tensor


def change(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Return the largest change of any output, relative to how much that output varies over the batch.

    A constant offset of an output, however large, therefore hides nothing down to a millionth of the output's size.
    Where nothing varies the size itself is taken. Infinite if the two differ in shape, in number, or in where they
    are finite, or if nothing in them is finite.
    """
    if not before or len(before) != len(after):
        return float("inf")
    return max(_change(x.detach().double(), y.detach().double()) for x, y in zip(before, after, strict=True))


def _change(x: Tensor, y: Tensor) -> float:
    finite = torch.isfinite(x)
    if x.shape != y.shape or not torch.equal(finite, torch.isfinite(y)):
        return float("inf")
    if not bool(finite.any()):
        return float("inf") if x.numel() else 0.0
    x, y = x.where(finite, 0.0), y.where(finite, 0.0)
    size = float(x.abs().max())
    varying = float((x - x.mean(0)).abs().max()) if x.ndim and x.shape[0] > 1 else size
    scale = max(varying, 1e-6 * size) or size
    found = float((x - y).abs().max())
    return found / scale if scale > 0 else found
