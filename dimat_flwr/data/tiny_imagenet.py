"""Tiny ImageNet (Stanford CS231n): 64 x 64 colour images of 200 classes, officially 500 each to train, 50 to test."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.dataset import Dataset
from dimat_flwr.data.decoding import decoded
from dimat_flwr.data.errors import DataError
from dimat_flwr.data.files import data_folders, find_folder
from dimat_flwr.data.images import ImageSource, PerChannel
from dimat_flwr.data.subset import balanced_subset

_FOLDER = "tiny-imagenet-200"
_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
_Listing = list[tuple[Path, int]]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TinyImageNet(ImageSource):
    """Read from ``<data_dir>/tiny-imagenet-200``: train/<class>/images, and the validation images for testing.

    The validation images may lie in val/<class>/images or, as published, in val/images beside val_annotations.txt. Only
    the images that a run uses are decoded. Mean and deviation are ImageNet's, as in DIMAT's code (which divides them by
    255 once too often); augmentation is its flip. The official test images have no labels and are not read.
    """

    num_classes: Literal[200] = 200
    channels: Literal[3] = 3
    image_size: Literal[64] = 64
    mean: PerChannel = (0.485, 0.456, 0.406)
    std: PerChannel = (0.229, 0.224, 0.225)
    flip: bool = True

    def check(self) -> None:
        """Look for the folders of all classes; see ``DataSource.check``."""
        self._classes(self._folder())

    def read(self) -> Dataset:
        """Decode the images chosen; see ``DataSource.read``."""
        folder = self._folder()
        classes = self._classes(folder)
        train = _in_class_folders(folder / "train", classes)
        # As published all lie in one folder; many people sort them into class folders and keep the list beside.
        published = (folder / "val" / "images").is_dir()
        test = (_annotated if published else _in_class_folders)(folder / "val", classes)
        train_part = self._decode(train, self.train_samples, "Tiny ImageNet's training set")
        return Dataset(*train_part, *self._decode(test, self.test_samples, "Tiny ImageNet's validation set"))

    def _folder(self) -> Path:
        where = self.data_dir or "data-dir"
        remedy = f"Nothing is downloaded by itself; get {_URL} and unpack it in {where}"
        return find_folder("Tiny ImageNet", data_folders(self.data_dir, _FOLDER), ("train", "val"), remedy)

    def _classes(self, folder: Path) -> dict[str, int]:
        names = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
        if len(names) != self.num_classes:
            raise DataError(
                f"{folder / 'train'} has {len(names)} class folders, not {self.num_classes}; unpack {_URL} again"
            )
        return {name: label for label, name in enumerate(names)}

    def _decode(self, listing: _Listing, samples: int | None, what: str) -> tuple[torch.Tensor, torch.Tensor]:
        labels = np.array([label for _, label in listing], dtype=np.int64)
        chosen = balanced_subset(labels, samples, what)
        pixels = np.empty((len(chosen), self.image_size, self.image_size, self.channels), dtype=np.uint8)
        for row, index in enumerate(chosen):
            path = listing[index][0]
            image = decoded(path, "RGB", f"unpack {_URL} again")  # some hundred of them are grey
            if image.size != (self.image_size, self.image_size):
                raise DataError(f"{path} has {image.width} x {image.height} pixels, not 64 x 64; unpack {_URL} again")
            pixels[row] = np.asarray(image)
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        return images, torch.from_numpy(labels[chosen])


def _in_class_folders(folder: Path, classes: dict[str, int]) -> _Listing:
    listing = [(path, label) for name, label in classes.items() for path in _images(folder / name / "images")]
    if not listing:
        raise DataError(f"{folder} holds no <class>/images/*.JPEG; unpack {_URL} again")
    return listing


def _images(folder: Path) -> list[Path]:
    # Names end in an unpadded number: shorter ones come first.
    return sorted(folder.glob("*.JPEG"), key=lambda path: (len(path.name), path.name))


def _annotated(folder: Path, classes: dict[str, int]) -> _Listing:
    annotations = folder / "val_annotations.txt"
    if not annotations.exists():
        raise DataError(f"{annotations} is missing, and with it the classes of val/images; unpack {_URL} again")
    listing = []
    for number, line in enumerate(annotations.read_text().splitlines(), start=1):
        name, _, rest = line.partition("\t")
        label = classes.get(rest.partition("\t")[0])
        if label is None:
            raise DataError(f"{annotations}, line {number}: no known class; unpack {_URL} again")
        listing.append((folder / "images" / name, label))
    if not listing:
        raise DataError(f"{annotations} is empty; unpack {_URL} again")
    return listing
