"""The 8 x 8 handwritten digits that come with scikit-learn: real data without any download."""

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.dataset import Dataset
from dimat_flwr.data.holdout import hold_out
from dimat_flwr.data.images import ImageSource, PerChannel
from dimat_flwr.data.packaged import packaged_file, read_numbers
from dimat_flwr.data.subset import balanced_subset


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Digits(ImageSource):
    """1,797 images of 0-9, four fifths of each class for training and one for testing, always the same ones.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), its test part. The grey levels
    0..16 become 0..255.
    """

    num_classes: Literal[10] = 10
    channels: Literal[1] = 1
    image_size: Literal[8] = 8
    mean: PerChannel = (0.3053,)
    std: PerChannel = (0.3760,)

    file: ClassVar[str] = "digits.csv.gz"

    def check(self) -> None:
        """Look for scikit-learn's file; see ``DataSource.check``."""
        packaged_file(self.file, "Digits")

    def read(self) -> Dataset:
        """Read the images from scikit-learn's file; see ``DataSource.read``."""
        table = read_numbers(packaged_file(self.file, "Digits"), "Digits", columns=65)
        labels = table[:, -1].astype(np.int64)
        images = torch.from_numpy(np.round(table[:, :-1] * (255 / 16)).astype(np.uint8)).view(-1, 1, 8, 8)
        train, test = hold_out(labels, self.num_classes)
        train = train[balanced_subset(labels[train], self.train_samples, "the digits' training set")]
        test = test[balanced_subset(labels[test], self.test_samples, "the digits' test set")]
        return Dataset(images[train], torch.from_numpy(labels[train]), images[test], torch.from_numpy(labels[test]))
