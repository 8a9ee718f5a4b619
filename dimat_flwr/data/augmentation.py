"""Random changes of whole batches of training samples at once, on the batch's device."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Augmentation(Protocol):
    """What happens to each of N samples; drawn once per epoch and sliced per batch."""

    def __getitem__(self, chosen: slice) -> "Augmentation":
        """Return the part for some of the samples."""
        ...

    def apply(self, inputs: Tensor) -> Tensor:
        """Return as many inputs as this was drawn or sliced for, changed; the given ones stay as they are."""
        ...


@dataclass(frozen=True, eq=False)
class FlipAndShift:
    """Flips and shifts of N images.

    Attributes:
        flips: bool (N,), mirror left to right.
        shifts: int64 (N, 2), rows and columns by which the crop window is moved, 0..2 * padding.
        padding: width of the black border that the window may reach into.
    """

    flips: Tensor
    shifts: Tensor
    padding: int

    @staticmethod
    def draw(
        samples: int, flip: bool, padding: int, generator: torch.Generator, device: torch.device
    ) -> "FlipAndShift":
        """Draw for N images; every flip has probability 1/2, every shift the same.

        Args:
            samples: N.
            flip: whether to flip at all.
            padding: 0 for no shift.
            generator: a CPU generator, so that all devices get the same numbers.
            device: where the images are.
        """
        flips = torch.rand(samples, generator=generator) < 0.5 if flip else torch.zeros(samples, dtype=torch.bool)
        shifts = torch.randint(0, 2 * padding + 1, (samples, 2), generator=generator)
        return FlipAndShift(flips.to(device), shifts.to(device), padding)

    def __getitem__(self, chosen: slice) -> "FlipAndShift":
        """Return the part for some of the images."""
        return FlipAndShift(self.flips[chosen], self.shifts[chosen], self.padding)

    def apply(self, inputs: Tensor) -> Tensor:
        """Return the images flipped and shifted, as random flip and crop with zero padding do one by one.

        Args:
            inputs: (N, C, H, W), any type.

        Returns:
            (N, C, H, W), contiguous in channels-last order.
        """
        height, width = inputs.shape[2:]
        padded = torch.nn.functional.pad(inputs, (self.padding,) * 4)
        rows = self.shifts[:, 0, None] + torch.arange(height, device=inputs.device)
        columns = torch.arange(width, device=inputs.device).expand(len(inputs), width)
        columns = self.shifts[:, 1, None] + torch.where(self.flips[:, None], width - 1 - columns, columns)
        which = torch.arange(len(inputs), device=inputs.device)
        # Channels come last as the slice lies between index tensors.
        return padded[which[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
