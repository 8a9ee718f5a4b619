"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 32 x 32 colour images, 50,000 for training and 10,000 for testing."""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.dataset import Dataset
from dimat_flwr.data.errors import DataError
from dimat_flwr.data.files import data_folders, find_folder, torchvision_remedy
from dimat_flwr.data.source import DataSource, PerChannel
from dimat_flwr.data.subset import balanced_subset


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CIFAR10(DataSource):
    """Ten classes, read from ``<data_dir>/cifar-10-batches-py`` (the published Python version)."""

    num_classes: Literal[10] = 10
    channels: Literal[3] = 3
    image_size: Literal[32] = 32
    mean: PerChannel = (0.4914, 0.4822, 0.4465)
    std: PerChannel = (0.2470, 0.2435, 0.2616)
    flip: bool = True
    crop_padding: int = Field(default=4, ge=0, le=64)

    folder: ClassVar[str] = "cifar-10-batches-py"
    files: ClassVar[tuple[str, ...]] = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta")
    url: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"

    def check(self) -> None:
        """Look for the files; see ``DataSource.check``."""
        find_folder(type(self).__name__, data_folders(self.data_dir, self.folder), self.files, self._remedy())

    def read(self) -> Dataset:
        """Read the files through torchvision, which compares checksums before it unpickles anything."""
        train = self._part(True, self.train_samples)
        return Dataset(*train, *self._part(False, self.test_samples))

    def _remedy(self) -> str:
        return torchvision_remedy(type(self).__name__, self.data_dir, self.url)

    def _part(self, train: bool, samples: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        from torchvision import datasets  # takes a second, which peers of other data sets need not wait for

        root = Path(self.data_dir or "").expanduser()
        try:
            part = getattr(datasets, type(self).__name__)(root, train=train, download=False)
        except RuntimeError as error:
            damage = f"{type(self).__name__} in {root / self.folder} is damaged: a file's checksum is wrong"
            raise DataError(f"{damage}. {self._remedy()}") from error
        labels = np.asarray(part.targets, dtype=np.int64)
        name = f"{type(self).__name__}'s {'training' if train else 'test'} set"
        chosen = balanced_subset(labels, samples, name)
        images = np.ascontiguousarray(part.data[chosen].transpose(0, 3, 1, 2))
        return torch.from_numpy(images), torch.from_numpy(labels[chosen])


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CIFAR100(CIFAR10):
    """A hundred classes, read from ``<data_dir>/cifar-100-python`` (the published Python version, fine labels).

    Mean and deviation are those of DIMAT's code; the images' own ones are 0.5071, 0.4865, 0.4409 and 0.2673, 0.2564,
    0.2762.
    """

    num_classes: Literal[100] = 100  # type: ignore[assignment]
    mean: PerChannel = (0.4914, 0.4822, 0.4465)
    std: PerChannel = (0.2023, 0.1994, 0.2010)

    folder: ClassVar[str] = "cifar-100-python"
    files: ClassVar[tuple[str, ...]] = ("train", "test", "meta")
    url: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
