"""Real digits as they lie on devices: a folder per class, arrays in one file, a table."""

from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data import Dataset
from dimat_flwr.data.digits import Digits


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ByPlace(Digits):
    """Every second digit, from the peer's place on: a data set that tells peers apart without files of their own."""

    place: int = 0

    def of(self, peer: int) -> Self:
        return replace(self, place=peer)

    def read(self) -> Dataset:
        whole = super().read()
        own = slice(self.place, None, 2)
        return replace(whole, train_inputs=whole.train_inputs[own], train_labels=whole.train_labels[own])


def digits(share: int, shares: int) -> tuple[np.ndarray, np.ndarray]:
    """Return every n-th image of the data set, (N, 8, 8) uint8, and its label."""
    whole: Dataset = Digits().load()
    images = np.concatenate([whole.train_inputs.numpy(), whole.test_inputs.numpy()])[share::shares, 0]
    labels = np.concatenate([whole.train_labels.numpy(), whole.test_labels.numpy()])[share::shares]
    return images, labels


def write_images(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / str(label) / f"{number:04}.png")


def write_arrays(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "data.npz", inputs=images[:, None] / np.float32(255), labels=labels)


def write_table(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [",".join([*(f"p{k}" for k in range(64)), "digit"])]
    rows += [",".join([*map(str, image.ravel()), f"d{label}"]) for image, label in zip(images, labels, strict=True)]
    (folder / "data.csv").write_text("\n".join(rows) + "\n")
