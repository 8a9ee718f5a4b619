"""What loading a data set gives."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dimat_flwr.data.errors import DataError
from dimat_flwr.data.task import Task


@dataclass(frozen=True, eq=False)
class Dataset:
    """Stored inputs and labels on the CPU, shared by all peers of a process: never change them in place.

    Attributes:
        train_inputs: (N, ...), any type that ``DataSource.prepare`` takes; uint8 (N, C, H, W) for images.
        train_labels: int64 (N,), or (N, T) where every place of a sequence has its own.
        test_inputs: (M, ...).
        test_labels: (M,) or (M, T).
    """

    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor

    @property
    def train_strata(self) -> Tensor:
        """What partitions go by, int64 (N,): the class of each training sample; all 0 where none has a single one."""
        if self.train_labels.dim() == 1:
            return self.train_labels
        return torch.zeros(len(self.train_labels), dtype=torch.int64)

    def require(self, what: str, task: Task, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        """Check that there is something, of the right types and shapes.

        Args:
            what: the data set's name, for errors.
            task: checks the labels.
            dtype: of the stored inputs.
            shape: of one stored input.

        Raises:
            DataError: naming the part that does not fit.
        """
        for part, inputs, labels in (
            ("training", self.train_inputs, self.train_labels),
            ("test", self.test_inputs, self.test_labels),
        ):
            remedy = "the files are damaged or of another data set: fetch them again"
            expected = (len(labels), *shape)
            if inputs.dtype != dtype or tuple(inputs.shape) != expected or not len(labels):
                raise DataError(
                    f"{what}: the {part} inputs are {inputs.dtype} {tuple(inputs.shape)} with {len(labels)} labels, "
                    f"not {dtype} {expected} with at least one; {remedy}"
                )
            if inputs.is_floating_point() and not inputs.isfinite().all():
                raise DataError(f"{what}: the {part} inputs hold numbers that are not finite; {remedy}")
            task.check_labels(labels, f"{what}: the {part} labels")
