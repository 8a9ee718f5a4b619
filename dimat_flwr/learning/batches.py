"""One peer's images as minibatches, made on the device from bytes: gather, augment, normalize."""

from collections.abc import Iterator
from functools import lru_cache
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dimat_flwr.data import Dataset, DataSource
from dimat_flwr.learning.augmentation import Augmentation
from dimat_flwr.learning.errors import TrainingError
from dimat_flwr.seeding import derive_seed

Batch = tuple[Tensor, Tensor]


class PeerData:
    """Some of a data set's images with their labels, on one device.

    Batches are pairs of images, float32 (B, C, H, W) normalized, and labels, int64 (B,). On CUDA the images are in
    channels-last order, for its speed: a network must use ``flatten``, as ``view`` may refuse that order. Where the
    last batch of an epoch would hold a single image, on which BatchNorm may fail, it joins the batch before.

    Attributes:
        images: uint8 (N, C, H, W), all of the data set's, shared between peers.
        labels: int64 (n,), of this peer's images.
        indices: int64 (n,), which of ``images`` are this peer's.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        indices: NDArray[np.int64] | None,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        flip: bool = False,
        crop_padding: int = 0,
    ) -> None:
        """Make it from tensors that are on the device already.

        Args:
            images: uint8 (N, C, H, W).
            labels: int64 (N,).
            indices: which of them are the peer's; None for all.
            mean: per channel, of images scaled to 0..1.
            std: per channel.
            flip: see ``DataSource``.
            crop_padding: see ``DataSource``.

        Raises:
            TrainingError: no images at all.
        """
        device = images.device
        chosen = torch.arange(len(images)) if indices is None else torch.from_numpy(np.asarray(indices, np.int64))
        if not len(chosen):
            raise TrainingError("a peer has no images; choose another partition or fewer peers")
        self.images = images
        self.indices = chosen.to(device)
        self.labels = labels[self.indices]
        self._flip, self._padding = flip, crop_padding
        # (x / 255 - mean) / std in one multiplication and addition.
        self._scale = (1 / (255 * torch.tensor(std))).view(1, -1, 1, 1).to(device)
        self._offset = (-torch.tensor(mean) / torch.tensor(std)).view(1, -1, 1, 1).to(device)
        self._drawn: tuple[tuple[int, bool], tuple[Tensor, Augmentation | None]] | None = None

    @staticmethod
    def training(source: DataSource, indices: NDArray[np.int64] | None, device: torch.device) -> "PeerData":
        """Return some of a data set's training images (None for all); the bytes on the device are shared."""
        data = _on_device(source, device)
        return PeerData(
            data.train_images,
            data.train_labels,
            indices,
            mean=source.mean,
            std=source.std,
            flip=source.flip,
            crop_padding=source.crop_padding,
        )

    @staticmethod
    def testing(source: DataSource, device: torch.device) -> "PeerData":
        """Return a data set's test images, which are never augmented."""
        data = _on_device(source, device)
        return PeerData(data.test_images, data.test_labels, None, mean=source.mean, std=source.std)

    def __len__(self) -> int:
        """Return the number n of this peer's images."""
        return len(self.indices)

    @property
    def device(self) -> torch.device:
        """Where images and batches are."""
        return self.images.device

    def label_counts(self, num_classes: int) -> NDArray[np.int64]:
        """Return how many images of each class there are, (num_classes,)."""
        return torch.bincount(self.labels, minlength=num_classes).cpu().numpy()

    def batches_per_epoch(self, batch_size: int) -> int:
        """Return the number of minibatches in an epoch."""
        return len(_bounds(len(self), batch_size))

    def epoch(self, batch_size: int, generator: torch.Generator, augment: bool = True) -> Iterator[Batch]:
        """Yield all images once, in random order.

        Args:
            batch_size: images per batch, >= 1; the last batch may hold fewer, or one more.
            generator: a CPU generator, from which order and augmentation are drawn.
            augment: flip and shift as configured.
        """
        order, augmentation = self._draw(generator, augment)
        for start, stop in _bounds(len(self), batch_size):
            yield self._batch(order, augmentation, start, stop)

    def batch(self, number: int, batch_size: int, seed: int, augment: bool = True) -> Batch:
        """Return one minibatch of an endless sequence of epochs, a function of the arguments alone.

        So training can stop after any minibatch and be taken up again from the number of those done.

        Args:
            number: 0, 1, 2, ... counted over all epochs.
            batch_size: see ``epoch``.
            seed: of the sequence; every epoch derives its own from it.
            augment: see ``epoch``.
        """
        bounds = _bounds(len(self), batch_size)
        epoch, position = divmod(number, len(bounds))
        epoch_seed = derive_seed(seed, round_number=epoch, purpose="epoch")
        if self._drawn is None or self._drawn[0] != (epoch_seed, augment):
            generator = torch.Generator().manual_seed(epoch_seed)
            self._drawn = ((epoch_seed, augment), self._draw(generator, augment))
        order, augmentation = self._drawn[1]
        return self._batch(order, augmentation, *bounds[position])

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Yield all images once as they lie, without augmentation."""
        order = torch.arange(len(self), device=self.device)
        for start in range(0, len(self), batch_size):
            yield self._batch(order, None, start, min(start + batch_size, len(self)))

    def matching_batches(
        self, samples: int, batch_size: int, generator: torch.Generator, augment: bool = False
    ) -> list[Tensor]:
        """Return batches of images alone, for statistics of activations; a list, as it is gone through several times.

        Args:
            samples: how many images to draw without replacement; all, in random order, if the peer has fewer.
            batch_size: see ``epoch``.
            generator: a CPU generator.
            augment: flip and shift as configured, as DIMAT's own code does.
        """
        order, augmentation = self._draw(generator, augment)
        bounds = _bounds(min(samples, len(self)), batch_size)
        return [self._batch(order, augmentation, start, stop)[0] for start, stop in bounds]

    def _draw(self, generator: torch.Generator, augment: bool) -> tuple[Tensor, Augmentation | None]:
        """Draw an epoch's order and augmentation at once: one small transfer to the device instead of one per batch."""
        order = torch.randperm(len(self), generator=generator).to(self.device)
        if not augment or not (self._flip or self._padding):
            return order, None
        return order, Augmentation.draw(len(self), self._flip, self._padding, generator, self.device)

    def _batch(self, order: Tensor, augmentation: Augmentation | None, start: int, stop: int) -> Batch:
        chosen = order[start:stop]
        pixels = self.images[self.indices[chosen]]
        if augmentation is not None:
            pixels = augmentation[start:stop].apply(pixels)
        layout = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        floats = pixels.to(torch.float32, memory_format=layout)
        return torch.addcmul(self._offset, floats, self._scale), self.labels[chosen]


def _bounds(samples: int, batch_size: int) -> list[tuple[int, int]]:
    """Return (start, stop) of every batch; a last one of a single image joins the one before."""
    count = max(1, ceil(samples / batch_size))
    if count > 1 and samples % batch_size == 1 and batch_size > 1:
        count -= 1
    return [(k * batch_size, samples if k == count - 1 else (k + 1) * batch_size) for k in range(count)]


# One data set per run and process; the second place is for a tool that looks at two.
@lru_cache(maxsize=2)
def _on_device(source: DataSource, device: torch.device) -> Dataset:
    data = source.load()
    return Dataset(
        data.train_images.to(device),
        data.train_labels.to(device),
        data.test_images.to(device),
        data.test_labels.to(device),
    )
