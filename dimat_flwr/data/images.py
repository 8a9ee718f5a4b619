"""Data sets of square images: stored as bytes, flipped and shifted for training, normalized on the device."""

from dataclasses import replace
from functools import lru_cache

import torch
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn.functional import avg_pool2d

from dimat_flwr.component import STRICT
from dimat_flwr.data.augmentation import Augmentation, FlipAndShift
from dimat_flwr.data.dataset import Dataset
from dimat_flwr.data.source import DataSource

PerChannel = tuple[float, ...]
_AT_A_TIME = 4096  # images that are averaged at a time: as floats they take four times their bytes


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ImageSource(DataSource):
    """Images, stored as uint8 (N, C, H, W) in 0..255; the network takes float32 (B, C, H, W), normalized.

    Batches are contiguous on every device and with any augmentation, as ``example_input`` is, on which networks are
    tried out: one that flattens by ``view`` would refuse channels that lie last. Those that want them there bring them.

    Attributes:
        channels: channels of an image.
        image_size: height and width of an image, as it is read.
        mean: mean per channel of the training images, in 0..1.
        std: standard deviation per channel.
        flip: flip training images left to right with probability 1/2.
        crop_padding: shift training images by up to this many pixels, black coming in; 0: never.
        pooling: average squares of so many pixels each way once, so that ``image_size // pooling`` are left.
    """

    channels: int = Field(ge=1)
    image_size: int = Field(ge=1)
    mean: PerChannel
    std: PerChannel
    flip: bool = False
    crop_padding: int = Field(default=0, ge=0, le=64)
    pooling: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> "ImageSource":
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std need {self.channels} values, not {len(self.mean)} and {len(self.std)}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, not {self.std}")
        if self.image_size % self.pooling:
            raise ValueError(
                f"images of {self.image_size} pixels each way have no whole number of squares of {self.pooling}; "
                "choose a pooling that divides them"
            )
        return self

    @property
    def side(self) -> int:
        """Height and width of an image as it is stored."""
        return self.image_size // self.pooling

    def example_input(self, samples: int = 2) -> Tensor:
        """Return float32 zeros (B, C, H, W); see ``DataSource.example_input``."""
        return torch.zeros(samples, self.channels, self.side, self.side)

    def stored_input(self) -> tuple[torch.dtype, tuple[int, ...]]:
        """Return what is stored of an image: its bytes."""
        return torch.uint8, (self.channels, self.side, self.side)

    def stored(self, read: Dataset) -> Dataset:
        """Return the images with their pixels averaged as configured."""
        if self.pooling == 1:
            return read
        train, test = (_pooled(images, self.pooling) for images in (read.train_inputs, read.test_inputs))
        return replace(read, train_inputs=train, test_inputs=test)

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
            float32 (B, C, H, W), contiguous.
        """
        pixels = inputs if augmentation is None else augmentation.apply(inputs)
        offset, scale = _normalization(self.mean, self.std, inputs.device)
        return torch.addcmul(offset, pixels.to(torch.float32, memory_format=torch.contiguous_format), scale)


def _pooled(images: Tensor, pixels: int) -> Tensor:
    """Return uint8 (N, C, H / pixels, W / pixels): means over squares, rounded, some images at a time."""
    parts = (avg_pool2d(part.float(), pixels).round().to(torch.uint8) for part in torch.split(images, _AT_A_TIME))
    return torch.cat(list(parts))


@lru_cache(maxsize=16)
def _normalization(mean: PerChannel, std: PerChannel, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return offset and factor, (1, C, 1, 1): (x / 255 - mean) / std in one multiplication and addition."""
    offset, scale = -torch.tensor(mean) / torch.tensor(std), 1 / (255 * torch.tensor(std))
    return offset.view(1, -1, 1, 1).to(device), scale.view(1, -1, 1, 1).to(device)
