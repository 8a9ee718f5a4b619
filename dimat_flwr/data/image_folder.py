"""A device's own images in a folder per class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.component import STRICT
from dimat_flwr.data.dataset import Dataset
from dimat_flwr.data.decoding import decoded
from dimat_flwr.data.errors import DataError
from dimat_flwr.data.images import ImageSource, PerChannel
from dimat_flwr.data.own_classes import AgreedNames, check_class_names, indices_of, set_aside
from dimat_flwr.data.subset import balanced_subset

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_MODES: dict[int, Literal["L", "RGB"]] = {1: "L", 3: "RGB"}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ImageFolder(ImageSource):
    """``<data_dir>/<class>/*.png`` (or .jpg, .jpeg, .bmp, .webp, .tif, .tiff), each device its own.

    Where ``<data_dir>/train`` and ``<data_dir>/test`` exist they hold the class folders; otherwise a fifth of each
    class, always the same one, is for testing. Images of another size or another number of channels than the
    run agreed on are scaled (to the square, antialiased) and converted; of 16 bits the upper 8 stay. Those of 32 bits
    and those with transparent pixels are refused. A device may lack classes; it may not have others.

    Attributes:
        classes: names of the class folders; their order is the order of the labels, the same at every device.
    """

    num_classes: int = 10
    classes: AgreedNames = tuple("0123456789")
    channels: int = 1
    image_size: int = 8
    mean: PerChannel = (0.5,)
    std: PerChannel = (0.5,)

    @model_validator(mode="after")
    def _classes_fit(self) -> "ImageFolder":
        check_class_names(self.classes, self.num_classes)
        if self.channels not in _MODES:
            raise ValueError(f"channels must be 1 (grey) or 3 (colour), not {self.channels}")
        return self

    def check(self) -> None:
        """Look for class folders with images; see ``DataSource.check``."""
        for folder in self._folders():
            self._listing(folder)

    def read(self) -> Dataset:
        """Decode the images chosen; see ``DataSource.read``."""
        listings = [self._listing(folder) for folder in self._folders()]
        if len(listings) == 2:
            (train, train_labels), (test, test_labels) = listings
        else:
            paths, labels = listings[0]
            kept, aside = set_aside(labels, self.num_classes, str(self._folder()))
            train, train_labels = [paths[k] for k in kept], labels[kept]
            test, test_labels = [paths[k] for k in aside], labels[aside]
        return Dataset(
            *self._decode(train, train_labels, self.train_samples, "training"),
            *self._decode(test, test_labels, self.test_samples, "test"),
        )

    def _folder(self) -> Path:
        if self.data_dir is None:
            raise DataError(
                "the device's own images were not found: data-dir is not set; name the folder with the class folders"
            )
        return Path(self.data_dir).expanduser()

    def _folders(self) -> list[Path]:
        """Return the folder of the class folders, or those for training and testing."""
        folder = self._folder()
        if not folder.is_dir():
            raise DataError(f"{folder} does not exist; set data-dir to the folder that holds the class folders")
        split = [folder / "train", folder / "test"]
        return split if all(part.is_dir() for part in split) else [folder]

    def _listing(self, folder: Path) -> tuple[list[Path], NDArray[np.int64]]:
        found = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in _SUFFIXES)
        if not found:
            raise DataError(
                f"{folder} holds no <class>/*{_SUFFIXES[0]} (or {', '.join(_SUFFIXES[1:])}); its class folders may be "
                f"any of {', '.join(self.classes)}"
            )
        return found, indices_of([path.parent.name for path in found], self.classes, str(folder))

    def _decode(
        self, paths: Sequence[Path], labels: NDArray[np.int64], samples: int | None, what: str
    ) -> tuple[Tensor, Tensor]:
        chosen = balanced_subset(labels, samples, f"the {what} part of {self._folder()}")
        pixels = np.empty((len(chosen), self.image_size, self.image_size, self.channels), dtype=np.uint8)
        for row, index in enumerate(chosen):
            image = decoded(paths[index], _MODES[self.channels], "repair or remove it")
            pixels[row] = self._fitted(image)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels[chosen])

    def _fitted(self, image: Image.Image) -> NDArray[np.uint8]:
        side = (self.image_size, self.image_size)
        fitted = image if image.size == side else image.resize(side, Image.Resampling.BILINEAR)
        return np.asarray(fitted, dtype=np.uint8).reshape(*side, self.channels)
