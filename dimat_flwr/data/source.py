"""What every data set component is: its facts for the configuration, its task, and how to load and prepare it."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Self

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.component import STRICT
from dimat_flwr.data.augmentation import Augmentation
from dimat_flwr.data.dataset import Dataset
from dimat_flwr.data.kept import Kept
from dimat_flwr.data.task import Classification, Task

PLACE = "{peer}"  # in the path of files, where every peer has its own


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataSource(ABC):
    """A data set that can be loaded; a subclass says what an input looks like and reads the files.

    Whatever the inputs are (images, rows of a table, token sequences), the rest of the system sees stored inputs, one
    per row of a tensor, ``prepare``, which makes of some of them what the network takes, and the ``task``.

    Attributes:
        num_classes: number of classes.
        data_dir: the folder that holds the data set's own folder; ``~`` is the home folder, and ``{peer}`` stands for
            the place of the peer that reads (``of``), where each has files of its own on one machine.
        train_samples: train on a fixed part of this size; None: on all. See ``balanced_subset``.
        test_samples: the same for testing.
    """

    num_classes: int = Field(ge=1)
    data_dir: str | None = None
    train_samples: int | None = Field(default=None, ge=1)
    test_samples: int | None = Field(default=None, ge=1)

    def of(self, peer: int) -> Self:
        """Return the data set as one peer reads it."""
        if not self.differs_by_peer:
            return self
        return replace(self, data_dir=str(self.data_dir).replace(PLACE, str(peer)))

    @property
    def differs_by_peer(self) -> bool:
        """Whether peers on one machine read from different folders."""
        return self.data_dir is not None and PLACE in self.data_dir

    @property
    def measures_samples(self) -> bool:
        """Whether what is stored of one sample follows from others too, as where all are standardized by their mean."""
        return False

    @property
    def task(self) -> Task:
        """Loss and metric: one of ``num_classes`` classes per sample, or per place of a sequence, unless overridden."""
        return Classification(self.num_classes)

    @abstractmethod
    def example_input(self, samples: int = 2) -> Tensor:
        """Return made-up inputs as the network takes them, to trace or check a network: zeros or valid tokens.

        Args:
            samples: B.

        Returns:
            (B, ...) in type and shape like the output of ``prepare``, on torch's default device.
        """

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

    def stored(self, read: Dataset) -> Dataset:
        """Return what is kept of what was read: all of it as it is, unless overridden."""
        return read

    def stored_input(self) -> tuple[torch.dtype, tuple[int, ...]]:
        """Return type and shape of one input as it is stored; here, those of a prepared one."""
        example = self.example_input(1)
        return example.dtype, tuple(example.shape[1:])

    def draw_augmentation(self, samples: int, generator: torch.Generator, device: torch.device) -> Augmentation | None:
        """Return random changes for so many training samples; None, as here, where there are none to make.

        Args:
            samples: N.
            generator: a CPU generator, the only source of randomness.
            device: where the stored inputs are.
        """
        return None

    def prepare(self, inputs: Tensor, augmentation: Augmentation | None = None) -> Tensor:
        """Return what the network takes; a subclass whose stored inputs are something else overrides this.

        Args:
            inputs: (B, ...) stored inputs, on any device; they stay as they are.
            augmentation: for just these samples; None for none.

        Returns:
            (B, ...) on the same device.
        """
        return inputs if augmentation is None else augmentation.apply(inputs)

    def load(self) -> Dataset:
        """Return the data set, the very same object for equal settings within a process.

        Raises:
            DataError: missing, damaged or too small.
        """
        return _load(self)


# Any process may run any peer, so the key is the content.
@Kept
def _load(source: DataSource) -> Dataset:
    source.check()
    dataset = source.stored(source.read())
    dataset.require(type(source).__name__, source.task, *source.stored_input())
    return dataset
