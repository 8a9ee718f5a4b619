"""Data sets of square images: stored as bytes, flipped and shifted for training, normalized on the device."""

from functools import lru_cache

import torch
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.component import STRICT
from dimat_flwr.data.augmentation import Augmentation, FlipAndShift
from dimat_flwr.data.source import DataSource

PerChannel = tuple[float, ...]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ImageSource(DataSource):
    """Images, stored as uint8 (N, C, H, W) in 0..255; the network takes float32 (B, C, H, W), normalized.

    On CUDA batches are in channels-last order, for its speed: a network must use ``flatten``, as ``view`` may refuse
    that order.

    Attributes:
        channels: channels of an image.
        image_size: height and width of an image.
        mean: mean per channel of the training images, in 0..1.
        std: standard deviation per channel.
        flip: flip training images left to right with probability 1/2.
        crop_padding: shift training images by up to this many pixels, black coming in; 0: never.
    """

    channels: int = Field(ge=1)
    image_size: int = Field(ge=1)
    mean: PerChannel
    std: PerChannel
    flip: bool = False
    crop_padding: int = Field(default=0, ge=0, le=64)

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> "ImageSource":
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std need {self.channels} values, not {len(self.mean)} and {len(self.std)}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, not {self.std}")
        return self

    def example_input(self, samples: int = 2) -> Tensor:
        """Return float32 zeros (B, C, H, W); see ``DataSource.example_input``."""
        return torch.zeros(samples, self.channels, self.image_size, self.image_size)

    def stored_input(self) -> tuple[torch.dtype, tuple[int, ...]]:
        """Return what is stored of an image: its bytes."""
        return torch.uint8, (self.channels, self.image_size, self.image_size)

    def draw_augmentation(self, samples: int, generator: torch.Generator, device: torch.device) -> Augmentation | None:
        """Draw flips and shifts as configured; see ``DataSource.draw_augmentation``."""
        if not (self.flip or self.crop_padding):
            return None
        return FlipAndShift.draw(samples, self.flip, self.crop_padding, generator, device)

    def prepare(self, inputs: Tensor, augmentation: Augmentation | None = None) -> Tensor:
        """Return images flipped, shifted and normalized.

        Args:
            inputs: (B, C, H, W) of any size and type, in 0..255.
            augmentation: see ``DataSource.prepare``.

        Returns:
            float32 (B, C, H, W).
        """
        pixels = inputs if augmentation is None else augmentation.apply(inputs)
        layout = torch.channels_last if inputs.device.type == "cuda" else torch.contiguous_format
        offset, scale = _normalization(self.mean, self.std, inputs.device)
        return torch.addcmul(offset, pixels.to(torch.float32, memory_format=layout), scale)


@lru_cache(maxsize=16)
def _normalization(mean: PerChannel, std: PerChannel, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return offset and factor, (1, C, 1, 1): (x / 255 - mean) / std in one multiplication and addition."""
    offset, scale = -torch.tensor(mean) / torch.tensor(std), 1 / (255 * torch.tensor(std))
    return offset.view(1, -1, 1, 1).to(device), scale.view(1, -1, 1, 1).to(device)
