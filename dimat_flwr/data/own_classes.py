"""What every device must agree on before it reads data of its own: names, above all the classes', in one order."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from dimat_flwr.data.errors import DataError
from dimat_flwr.data.holdout import hold_out


def _names(given: Any) -> Any:
    # Names that look like numbers arrive as numbers: classes=[0,1].
    return tuple(str(name) for name in given) if isinstance(given, list | tuple) else given


AgreedNames = Annotated[tuple[str, ...], BeforeValidator(_names), Field(min_length=1)]


def check_class_names(names: Sequence[str], num_classes: int) -> None:
    """Check that the names are as many as the classes, and all different.

    Raises:
        ValueError: they are not.
    """
    if len(names) != num_classes:
        raise ValueError(f"num_classes is {num_classes}, but classes has {len(names)} names; set both")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"classes names {', '.join(map(repr, twice))} twice")


def indices_of(labels: Sequence[str], names: Sequence[str], where: str) -> NDArray[np.int64]:
    """Return the index of every label among the agreed names, (N,).

    Args:
        labels: (N,) names as they are in the device's files.
        names: the agreed names.
        where: the file, for errors.

    Raises:
        DataError: a label is none of them. A device may lack some, but not have others.
    """
    known = {name: index for index, name in enumerate(names)}
    strange = sorted({label for label in labels if label not in known})
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise DataError(
            f"{where} has the class {', '.join(map(repr, strange[:3]))}{more}, which is not among those the run agreed "
            f"on ({', '.join(names)}); rename it, or set dataset.classes for everybody"
        )
    return np.array([known[label] for label in labels], dtype=np.int64)


def set_aside(labels: NDArray[np.int64], num_classes: int, where: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices for training and testing of data that come without a test set: see ``hold_out``.

    Raises:
        DataError: there are too few for a fifth of them to be any.
    """
    train, test = hold_out(labels, num_classes)
    if not len(test) or not len(train):
        raise DataError(
            f"{where} has {len(labels)} samples, too few to set a fifth of each class aside for testing; give more, or "
            "a test set of its own"
        )
    return train, test
