"""Networks with something that is not known or not there: an operator for the tracing, running statistics."""

import torch
from torch import Tensor, nn


class Odd(nn.Module):
    """Class scores of 8 x 8 digits, by way of a matrix exponential."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 8), nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, num_classes)."""
        hidden = self.first(images.flatten(1))
        turned = torch.linalg.matrix_exp(0.01 * hidden.unsqueeze(1) * hidden.unsqueeze(2))
        return self.last(turned.diagonal(dim1=1, dim2=2) + hidden)


class WithoutRunningStatistics(nn.Sequential):
    """Class scores of 8 x 8 digits; its BatchNorm knows nothing but the minibatch, in evaluation mode as well."""

    def __init__(self, num_classes: int = 10, width: int = 1) -> None:
        units = 8 * width
        norm = nn.BatchNorm1d(units, track_running_stats=False)
        super().__init__(nn.Flatten(), nn.Linear(64, units), norm, nn.ReLU(), nn.Linear(units, num_classes))
