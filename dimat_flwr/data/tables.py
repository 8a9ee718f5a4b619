"""Data sets of rows of numbers."""

from abc import abstractmethod
from dataclasses import dataclass as plain_dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.component import STRICT
from dimat_flwr.data.dataset import Dataset
from dimat_flwr.data.source import DataSource
from dimat_flwr.data.subset import balanced_subset


@plain_dataclass(frozen=True, eq=False)
class Table:
    """Rows of numbers and their classes, as published.

    Attributes:
        rows: (N, features).
        labels: (N,), 0..num_classes - 1.
    """

    rows: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TableSource(DataSource):
    """Rows of numbers, stored standardized as float32 (N, features), which is what the network takes.

    Unless ``mean`` and ``std`` say otherwise, every feature has mean 0 and deviation 1 over the whole training set
    (constant ones are 0 there, and elsewhere the difference to that constant); ``train_samples`` does not change that.

    Attributes:
        features: numbers in a row.
        mean: what to take off every feature, one number each; None: the training set's own means.
        std: what to divide by then, one number each; None: the training set's own deviations.
    """

    features: int = Field(ge=1)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _one_value_per_feature(self) -> "TableSource":
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.features:
                raise ValueError(f"{name} needs {self.features} values, one for each feature, not {len(values)}")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std must be positive, not {min(self.std)}")
        return self

    @property
    def measures_samples(self) -> bool:
        """Whether rows are standardized by what the training set's own are."""
        return self.mean is None or self.std is None

    @abstractmethod
    def tables(self) -> tuple[Table, Table]:
        """Return all rows for training and all rows for testing, as they are in the files.

        Raises:
            DataError: missing or damaged.
        """

    def read(self) -> Dataset:
        """Standardize the tables and take the parts asked for; see ``DataSource.read``."""
        train, test = self.tables()
        own_mean, own_deviation = _own_measures(train.rows)
        mean = own_mean if self.mean is None else np.array(self.mean)
        deviation = own_deviation if self.std is None else np.array(self.std)

        def part(table: Table, samples: int | None, what: str) -> tuple[Tensor, Tensor]:
            chosen = balanced_subset(table.labels, samples, f"{type(self).__name__}'s {what} set")
            rows = ((table.rows[chosen] - mean) / deviation).astype(np.float32)
            return torch.from_numpy(rows), torch.from_numpy(table.labels[chosen])

        return Dataset(*part(train, self.train_samples, "training"), *part(test, self.test_samples, "test"))

    def example_input(self, samples: int = 2) -> Tensor:
        """Return float32 zeros (B, features); see ``DataSource.example_input``."""
        return torch.zeros(samples, self.features)


def _own_measures(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of every feature and its divisor, (features,) each: for constant ones their value and 1."""
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    lowest = rows.min(axis=0, initial=np.inf)
    # Both are rounded: of 400 times 0.1 the deviation is not 0. It is where squares of tiny differences underflow.
    constant = lowest == rows.max(axis=0, initial=-np.inf)
    mean[constant] = lowest[constant]
    deviation[constant | (deviation == 0)] = 1
    return mean, deviation
