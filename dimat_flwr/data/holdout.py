"""Setting a fixed part of a data set aside for testing, where none is published."""

import numpy as np
from numpy.typing import NDArray


def hold_out(labels: NDArray[np.int64], num_classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices for training and testing, ascending: a fifth of each class is for testing.

    The seed belongs to the data set and is not the run's: it is always the same fifth.

    Args:
        labels: (N,) the class of every sample, 0..num_classes - 1.
        num_classes: number of classes.
    """
    generator = np.random.default_rng(0)
    test = []
    for label in range(num_classes):
        members = generator.permutation(np.flatnonzero(labels == label))
        test.append(members[: round(len(members) / 5)])
    chosen = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen
