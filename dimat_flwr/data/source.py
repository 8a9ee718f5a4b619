"""What every data set component is: its facts for the configuration, and how to load it."""

from abc import ABC, abstractmethod
from functools import lru_cache

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.dataset import Dataset

PerChannel = tuple[float, ...]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataSource(ABC):
    """A data set that can be loaded; a subclass fixes the facts and reads the files.

    Attributes:
        num_classes: number of classes.
        channels: channels of an image.
        image_size: height and width of an image.
        mean: mean per channel of the training images, in 0..1.
        std: standard deviation per channel.
        flip: flip training images left to right with probability 1/2.
        crop_padding: shift training images by up to this many pixels, black coming in; 0: never.
        data_dir: the folder that holds the data set's own folder; ``~`` is the home folder.
        train_samples: train on a fixed, class-balanced part of this size; None: on all. See ``balanced_subset``.
        test_samples: the same for testing.
    """

    num_classes: int
    channels: int
    image_size: int
    mean: PerChannel
    std: PerChannel
    flip: bool = False
    crop_padding: int = Field(default=0, ge=0, le=64)
    data_dir: str | None = None
    train_samples: int | None = Field(default=None, ge=1)
    test_samples: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> "DataSource":
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std need {self.channels} values, not {len(self.mean)} and {len(self.std)}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, not {self.std}")
        return self

    @abstractmethod
    def check(self) -> None:
        """Look whether the files are there, without reading them.

        Raises:
            DataError: what is missing, where, and how to get it.
        """

    @abstractmethod
    def read(self) -> Dataset:
        """Read the files; use ``load``, which checks and caches.

        Raises:
            DataError: missing, damaged or too small.
        """

    def load(self) -> Dataset:
        """Return the data set, the very same object for equal settings within a process.

        Raises:
            DataError: missing, damaged or too small.
        """
        return _load(self)


# Any process may run any peer, so the key is the content; two, since a tool may compare two data sets.
@lru_cache(maxsize=2)
def _load(source: DataSource) -> Dataset:
    source.check()
    dataset = source.read()
    dataset.require(type(source).__name__, source.channels, source.image_size, source.num_classes)
    return dataset
