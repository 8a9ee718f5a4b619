"""What a data set asks of a network: the loss of its scores and the figure that says how good they are."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dimat_flwr.data.errors import DataError, TaskError

UNLABELLED = -100  # the label of a place that has none, such as padding; torch's cross entropy leaves it out too


class Task(ABC):
    """The loss and the metric of a data set.

    A task is a value: equal settings are equal and hash alike (a frozen dataclass does that).

    Attributes:
        metric: name of the figure, a percentage; higher is better.
        num_classes: number of classes that ``tally`` tells apart; 1 where there are none.
    """

    metric: ClassVar[str] = "accuracy"
    num_classes: int

    @abstractmethod
    def loss(self, scores: Tensor, labels: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        """Return the loss of a batch, a scalar of float32 at least, whatever the type of the scores.

        Args:
            scores: what the network returned.
            labels: of the batch.
            reduction: over all places of the batch that have a label.
        """

    @abstractmethod
    def tally(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return int64 (2, num_classes): how many of each class were recognized, and how many there are."""

    @abstractmethod
    def check_scores(self, shape: Sequence[int], samples: int) -> None:
        """Check the shape of what a network returned.

        Raises:
            TaskError: these are no scores of ``samples`` samples for this task.
        """

    @abstractmethod
    def check_labels(self, labels: Tensor, what: str) -> None:
        """Check the labels of a whole set.

        Raises:
            DataError: they are none of this task; it begins with ``what``.
        """


@dataclass(frozen=True)
class Classification(Task):
    """One class for each sample, or for each place of a sequence; cross entropy and the share of classes recognized.

    Scores are (B, num_classes) for labels (B,), or (B, T, num_classes) for labels (B, T), and so on; labels are int64,
    0..num_classes - 1, or ``UNLABELLED`` (-100) for places that do not count.

    Attributes:
        num_classes: number of classes.
    """

    num_classes: int

    def loss(self, scores: Tensor, labels: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        """Return the cross entropy; see ``Task.loss``.

        Raises:
            TaskError: the scores are not one row of ``num_classes`` for each label.
        """
        if scores.shape[:-1] != labels.shape or scores.shape[-1] != self.num_classes:
            raise TaskError(
                f"scores {tuple(scores.shape)} do not go with labels {tuple(labels.shape)}: the network must return "
                f"{(*labels.shape, self.num_classes)}"
            )
        # From a forward pass in bfloat16 scores are too coarse to be summed up as they are.
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if labels.dim() > 1:
            scores, labels = scores.flatten(0, -2), labels.flatten()
        return cross_entropy(scores, labels, ignore_index=UNLABELLED, reduction=reduction)

    def tally(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return recognized and all places of each class; see ``Task.tally``."""
        counted = labels >= 0
        truth = labels[counted]
        hits = truth[scores.argmax(dim=-1)[counted] == truth]
        return torch.stack([torch.bincount(part, minlength=self.num_classes) for part in (hits, truth)])

    def check_scores(self, shape: Sequence[int], samples: int) -> None:
        """Check the shape of scores; see ``Task.check_scores``."""
        if len(shape) < 2 or shape[0] != samples or shape[-1] != self.num_classes:
            raise TaskError(
                f"it returns {tuple(shape)} for {samples} samples, not class scores "
                f"({samples}, ..., {self.num_classes})"
            )

    def check_labels(self, labels: Tensor, what: str) -> None:
        """Check type and range of labels; see ``Task.check_labels``."""
        expected = f"not torch.int64 in 0..{self.num_classes - 1}"
        if labels.dtype != torch.int64:
            raise DataError(f"{what} are {labels.dtype}, {expected}")
        counted = labels[labels != UNLABELLED]
        if not counted.numel():
            raise DataError(f"{what}: none of {labels.numel()} is a class, they are all {UNLABELLED}")
        low, high = int(counted.min()), int(counted.max())
        if low < 0 or high >= self.num_classes:
            raise DataError(f"{what} are in {low}..{high}, {expected}")
