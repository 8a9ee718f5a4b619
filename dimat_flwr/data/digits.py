"""The 8 x 8 handwritten digits that come with scikit-learn: real data without any download."""

from typing import Literal

import numpy as np
import torch
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.dataset import Dataset
from dimat_flwr.data.source import DataSource, PerChannel
from dimat_flwr.data.subset import balanced_subset


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Digits(DataSource):
    """1,797 images of 0-9, four fifths of each class for training and one for testing, always the same ones.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), its test part. The grey levels
    0..16 become 0..255.
    """

    num_classes: Literal[10] = 10
    channels: Literal[1] = 1
    image_size: Literal[8] = 8
    mean: PerChannel = (0.3053,)
    std: PerChannel = (0.3760,)

    def check(self) -> None:
        """Do nothing: the files come with scikit-learn."""

    def read(self) -> Dataset:
        """Read the images from scikit-learn."""
        from sklearn.datasets import load_digits  # takes a second, which peers of other data sets need not wait for

        digits = load_digits()
        labels = digits.target.astype(np.int64)
        images = torch.from_numpy(np.round(digits.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
        train, test = _split(labels)
        train = train[balanced_subset(labels[train], self.train_samples, "the digits' training set")]
        test = test[balanced_subset(labels[test], self.test_samples, "the digits' test set")]
        return Dataset(images[train], torch.from_numpy(labels[train]), images[test], torch.from_numpy(labels[test]))


def _split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices for training and testing; the seed belongs to the data set and is not the run's."""
    generator = np.random.default_rng(0)
    test = []
    for label in range(10):
        members = generator.permutation(np.flatnonzero(labels == label))
        test.append(members[: round(len(members) / 5)])
    chosen = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen
