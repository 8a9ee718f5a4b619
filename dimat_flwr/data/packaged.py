"""The small data sets that come as files with scikit-learn, read without importing it (which takes a second)."""

import gzip
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimat_flwr.data.errors import DataError

_REMEDY = "it comes with scikit-learn: install that again (pip install --force-reinstall scikit-learn)"


def packaged_file(name: str, what: str) -> Path:
    """Return where scikit-learn keeps one of its data files.

    Args:
        name: the file.
        what: the data set, for errors.

    Raises:
        DataError: scikit-learn is not installed, or has no such file.
    """
    spec = find_spec("sklearn")
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise DataError(f"{what} was not found: scikit-learn is not installed. {what} needs {name}; {_REMEDY}")
    paths = [Path(folder) / "datasets" / "data" / name for folder in folders]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise DataError(f"{what} was not found: {paths[0]} does not exist; {_REMEDY}")
    return found


def read_numbers(path: Path, what: str, columns: int, skip: int = 0) -> NDArray[np.float64]:
    """Return the numbers of a comma-separated file, (rows, columns).

    Args:
        path: the file, packed if its name ends in ``.gz``.
        what: the data set, for errors.
        columns: how many every row must have.
        skip: lines before the first row.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("ascii")
        rows = [line.split(",") for line in text.splitlines()[skip:] if line]
        numbers = np.array(rows, dtype=np.float64)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{what}: {path} cannot be read ({error}); {_REMEDY}") from error
    if numbers.ndim != 2 or numbers.shape[1] != columns:
        raise DataError(f"{what}: {path} holds {numbers.shape} numbers, not rows of {columns}; {_REMEDY}")
    return numbers
