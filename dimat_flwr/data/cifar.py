"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 32 x 32 colour images, 50,000 for training and 10,000 for testing."""

import hashlib
import pickle
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.dataset import Dataset
from dimat_flwr.data.errors import DataError
from dimat_flwr.data.files import data_folders, find_folder, torchvision_remedy
from dimat_flwr.data.images import ImageSource, PerChannel
from dimat_flwr.data.subset import balanced_subset


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CIFAR10(ImageSource):
    """Ten classes, read from ``<data_dir>/cifar-10-batches-py`` (the published Python version)."""

    num_classes: Literal[10] = 10
    channels: Literal[3] = 3
    image_size: Literal[32] = 32
    mean: PerChannel = (0.4914, 0.4822, 0.4465)
    std: PerChannel = (0.2470, 0.2435, 0.2616)
    flip: bool = True
    crop_padding: int = Field(default=4, ge=0, le=64)

    folder: ClassVar[str] = "cifar-10-batches-py"
    train_files: ClassVar[dict[str, str]] = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    }
    test_files: ClassVar[dict[str, str]] = {"test_batch": "40351d587109b95175f43aff81a1287e"}
    labels_key: ClassVar[str] = "labels"
    url: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"

    def check(self) -> None:
        """Look for the files; see ``DataSource.check``."""
        self._folder()

    def read(self) -> Dataset:
        """Read the files; see ``DataSource.read``. Checksums are compared before anything is unpickled."""
        train = self._part(self.train_files, self.train_samples, "training")
        return Dataset(*train, *self._part(self.test_files, self.test_samples, "test"))

    def _folder(self) -> Path:
        files = (*self.train_files, *self.test_files)
        return find_folder(type(self).__name__, data_folders(self.data_dir, self.folder), files, self._remedy())

    def _remedy(self) -> str:
        return torchvision_remedy(type(self).__name__, self.data_dir, self.url)

    def _part(self, files: dict[str, str], samples: int | None, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        folder = self._folder()
        batches = [self._unpickled(folder / name, checksum) for name, checksum in files.items()]
        labels = np.concatenate([np.asarray(batch[self.labels_key], dtype=np.int64) for batch in batches])
        images = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
        chosen = balanced_subset(labels, samples, f"{type(self).__name__}'s {part} set")
        return torch.from_numpy(images[chosen]), torch.from_numpy(labels[chosen])

    def _unpickled(self, path: Path, checksum: str) -> dict[str, Any]:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{type(self).__name__}: {path} cannot be read ({error}). {self._remedy()}") from error
        # Only the published bytes are unpickled: a pickle may do anything.
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != checksum:
            raise DataError(
                f"{type(self).__name__} in {path.parent} is damaged: {path.name} has a wrong checksum. {self._remedy()}"
            )
        batch: dict[str, Any] = pickle.loads(content, encoding="latin1")
        return batch


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
    train_files: ClassVar[dict[str, str]] = {"train": "16019d7e3df5f24257cddd939b257f8d"}
    test_files: ClassVar[dict[str, str]] = {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}
    labels_key: ClassVar[str] = "fine_labels"
    url: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
