"""What loading a data set gives."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dimat_flwr.data.errors import DataError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels on the CPU, shared by all peers of a process: never change them in place.

    Attributes:
        train_images: uint8 (N, C, H, W), 0..255.
        train_labels: int64 (N,), 0..classes-1.
        test_images: uint8 (M, C, H, W).
        test_labels: int64 (M,).
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def require(self, what: str, channels: int, image_size: int, num_classes: int) -> None:
        """Check shapes, types and labels against what the configuration says.

        Raises:
            DataError: naming the part that does not fit.
        """
        for part, images, labels in (
            ("training", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            expected = (len(labels), channels, image_size, image_size)
            if images.dtype != torch.uint8 or tuple(images.shape) != expected or not len(labels):
                raise DataError(
                    f"{what}: the {part} images are {images.dtype} {tuple(images.shape)} with {len(labels)} labels, "
                    f"not torch.uint8 {expected} with at least one; the files are damaged or of another data set"
                )
            low, high = int(labels.min()), int(labels.max())
            if labels.dtype != torch.int64 or low < 0 or high >= num_classes:
                raise DataError(
                    f"{what}: the {part} labels are {labels.dtype} in {low}..{high}, not torch.int64 in "
                    f"0..{num_classes - 1}; the files are damaged or of another data set"
                )
