"""A device's own arrays in one .npz file."""

from pathlib import Path

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.component import STRICT
from dimat_flwr.data.dataset import Dataset
from dimat_flwr.data.errors import DataError
from dimat_flwr.data.own_classes import set_aside
from dimat_flwr.data.source import DataSource
from dimat_flwr.data.subset import balanced_subset

_TRAIN, _TEST = ("inputs", "labels"), ("test_inputs", "test_labels")
_WHOLE, _REAL = "iu", "iuf"  # numpy's kinds of numbers


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Npz(DataSource):
    """``<data_dir>/<file>`` with arrays ``inputs`` (N, ...) and ``labels`` (N,), as numpy.savez writes them.

    The network takes the inputs as float32, as they are. ``test_inputs`` and ``test_labels`` are for testing, if there
    is either of them; otherwise a fifth of each class, always the same one. A device may lack classes.

    Attributes:
        file: name of the file.
        shape: of one input, the same at every device.
    """

    num_classes: int = 10
    file: str = Field(default="data.npz", min_length=1)
    shape: tuple[int, ...] = Field(default=(1, 8, 8), min_length=1)

    def example_input(self, samples: int = 2) -> Tensor:
        """Return float32 zeros (B, *shape); see ``DataSource.example_input``."""
        return torch.zeros(samples, *self.shape)

    def check(self) -> None:
        """Look for the file; see ``DataSource.check``."""
        if not self._path().is_file():
            raise DataError(f"{self._path()} does not exist; set data-dir to its folder, or dataset.file to its name")

    def read(self) -> Dataset:
        """Read the arrays; see ``DataSource.read``."""
        found = self._arrays()
        if any(name in found for name in _TEST):
            (inputs, labels), (test_inputs, test_labels) = self._pair(found, *_TRAIN), self._pair(found, *_TEST)
        else:
            whole, every = self._pair(found, *_TRAIN)
            kept, aside = set_aside(every, self.num_classes, str(self._path()))
            inputs, labels, test_inputs, test_labels = whole[kept], every[kept], whole[aside], every[aside]
        train = balanced_subset(labels, self.train_samples, f"the training part of {self._path()}")
        test = balanced_subset(test_labels, self.test_samples, f"the test part of {self._path()}")
        return Dataset(
            *(torch.from_numpy(part) for part in (inputs[train], labels[train], test_inputs[test], test_labels[test]))
        )

    def _path(self) -> Path:
        if self.data_dir is None:
            raise DataError(
                f"the device's own {self.file} was not found: data-dir is not set; name the folder that holds it"
            )
        return Path(self.data_dir).expanduser() / self.file

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        remedy = "write it with numpy.savez(file, inputs=..., labels=...)"
        try:
            with self._path().open("rb") as content:
                file = np.load(content, allow_pickle=False)
                archive = isinstance(file, NpzFile)
                found = {name: file[name] for name in (*_TRAIN, *_TEST) if name in file} if archive else {}
        # Bytes from anywhere are unpacked and parsed; there is no list of what that raises.
        except Exception as error:
            raise DataError(f"{self._path()} cannot be read ({type(error).__name__}: {error}); {remedy}") from error
        if not archive:
            raise DataError(f"{self._path()} is a single array, not an archive of several; {remedy}")
        for name, array in found.items():
            if not isinstance(array, np.ndarray):  # a member that is no .npy comes as its bytes
                raise DataError(f"{self._path()}: {name} is not an array; {remedy}")
        return found

    def _pair(
        self, found: dict[str, NDArray[np.generic]], inputs: str, labels: str
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        missing = [name for name in (inputs, labels) if name not in found]
        if missing:
            raise DataError(
                f"{self._path()} lacks the array {' and '.join(missing)}; it needs {inputs} (N, ...) and {labels} (N,)"
            )
        x, y = found[inputs], found[labels]
        if x.dtype.kind not in _REAL:  # numpy counts spans of time among the numbers
            raise DataError(f"{self._path()}: {inputs} is {x.dtype}, not numbers")
        if x.shape != (len(y) if y.ndim else -1, *self.shape) or y.ndim != 1 or y.dtype.kind not in _WHOLE:
            raise DataError(
                f"{self._path()} has {inputs} {x.shape} and {labels} {y.dtype} {y.shape}; the run agreed on inputs "
                f"(N, {', '.join(map(str, self.shape))}) and integer labels (N,)"
            )
        known = y.astype(np.int64)
        outside = (known < 0) | (known >= self.num_classes)
        if outside.any():
            raise DataError(
                f"{self._path()}: {labels} has the class {known[outside][0]}; the run agreed on classes 0 to "
                f"{self.num_classes - 1}"
            )
        return x.astype(np.float32), known
