"""The loss of local training."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def class_loss(scores: Tensor, labels: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """Return the cross entropy of class scores, computed in float32 at least.

    Args:
        scores: (B, classes); from a forward pass in bfloat16 they are too coarse to be summed up as they are.
        labels: int64 (B,).
        reduction: over the batch.
    """
    return cross_entropy(scores.to(torch.promote_types(scores.dtype, torch.float32)), labels, reduction=reduction)
