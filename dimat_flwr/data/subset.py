"""Taking a small, balanced part of a data set for quick runs."""

import numpy as np
from numpy.typing import NDArray

from dimat_flwr.data.errors import DataError


def balanced_subset(labels: NDArray[np.int64], samples: int | None, what: str) -> NDArray[np.int64]:
    """Return the indices, ascending, of the first samples of every class in equal numbers; nothing is drawn at random.

    Args:
        labels: (N,) the class of every sample.
        samples: how many; None for all. Where it is no multiple of the number of classes the lower classes get one
            more; a class that runs out is made up for by the others.
        what: the set's name, for errors.

    Raises:
        DataError: there are fewer samples than asked for.
    """
    if samples is None:
        return np.arange(len(labels))
    if samples > len(labels):
        raise DataError(
            f"{what} has {len(labels)} samples, fewer than the {samples} asked for; "
            "ask for fewer with dataset.train_samples or dataset.test_samples, or for all with null"
        )
    by_class = np.argsort(labels, kind="stable")
    ordered = labels[by_class]
    starts = np.searchsorted(ordered, ordered)  # where each sample's class begins in the sorted order
    nth_of_class = np.empty(len(labels), dtype=np.int64)
    nth_of_class[by_class] = np.arange(len(labels)) - starts
    return np.sort(np.lexsort((labels, nth_of_class))[:samples])
