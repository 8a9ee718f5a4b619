"""Random flips and shifts of whole batches at once, on the batch's device."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Augmentation:
    """What happens to each of N images; drawn once and indexed per batch.

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
    ) -> "Augmentation":
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
        return Augmentation(flips.to(device), shifts.to(device), padding)

    def __getitem__(self, chosen: Tensor | slice) -> "Augmentation":
        """Return the part for some of the images."""
        return Augmentation(self.flips[chosen], self.shifts[chosen], self.padding)

    def apply(self, images: Tensor) -> Tensor:
        """Return the images flipped and shifted, as random flip and crop with zero padding do one by one.

        Args:
            images: (N, C, H, W), any type.

        Returns:
            (N, C, H, W), contiguous in channels-last order.
        """
        height, width = images.shape[2:]
        padded = torch.nn.functional.pad(images, (self.padding,) * 4)
        rows = self.shifts[:, 0, None] + torch.arange(height, device=images.device)
        columns = torch.arange(width, device=images.device).expand(len(images), width)
        columns = self.shifts[:, 1, None] + torch.where(self.flips[:, None], width - 1 - columns, columns)
        which = torch.arange(len(images), device=images.device)
        # Channels come last as the slice lies between index tensors.
        return padded[which[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
