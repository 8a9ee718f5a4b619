"""MNIST and Fashion-MNIST: 28 x 28 grey images, 60,000 for training and 10,000 for testing."""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.dataset import Dataset
from dimat_flwr.data.files import data_folders, find_folder, torchvision_remedy
from dimat_flwr.data.idx import read_idx
from dimat_flwr.data.images import ImageSource, PerChannel
from dimat_flwr.data.subset import balanced_subset

_FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MNIST(ImageSource):
    """Handwritten digits (LeCun et al. 1998), read from ``<data_dir>/MNIST/raw``, plain or as .gz."""

    num_classes: Literal[10] = 10
    channels: Literal[1] = 1
    image_size: Literal[28] = 28
    mean: PerChannel = (0.1307,)
    std: PerChannel = (0.3081,)

    system_folders: ClassVar[tuple[str, ...]] = ()
    url: ClassVar[str] = "https://ossci-datasets.s3.amazonaws.com/mnist/"
    another_way: ClassVar[str] = ""

    def check(self) -> None:
        """Look for the four files; see ``DataSource.check``."""
        self._folder()

    def read(self) -> Dataset:
        """Read the four files; see ``DataSource.read``."""
        folder = self._folder()
        train = self._part(folder, "train", self.train_samples)
        return Dataset(*train, *self._part(folder, "t10k", self.test_samples))

    def _folder(self) -> Path:
        name = type(self).__name__
        remedy = torchvision_remedy(name, self.data_dir, self.url) + self.another_way
        return find_folder(name, data_folders(self.data_dir, f"{name}/raw", *self.system_folders), _FILES, remedy)

    def _part(self, folder: Path, part: str, samples: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        labels = read_idx(folder / f"{part}-labels-idx1-ubyte").astype(np.int64)
        images = read_idx(folder / f"{part}-images-idx3-ubyte")
        chosen = balanced_subset(labels, samples, f"{type(self).__name__}'s {part} set")
        return torch.from_numpy(images[chosen]).unsqueeze(1), torch.from_numpy(labels[chosen])


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FashionMNIST(MNIST):
    """Ten kinds of clothing (Xiao et al. 2017), from ``<data_dir>/FashionMNIST/raw`` or Debian's package of them."""

    mean: PerChannel = (0.2860,)
    std: PerChannel = (0.3530,)

    system_folders: ClassVar[tuple[str, ...]] = ("/usr/share/datasets/fashion-mnist",)
    url: ClassVar[str] = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    another_way: ClassVar[str] = "; or install Debian's package: apt-get install dataset-fashion-mnist"
