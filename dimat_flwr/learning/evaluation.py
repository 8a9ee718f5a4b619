"""Test accuracy over all classes, and a peer's own share of it from the same forward pass."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dimat_flwr.data import Task
from dimat_flwr.learning.batches import PeerData
from dimat_flwr.learning.device import Precision, autocast
from dimat_flwr.learning.mode import in_mode


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a model does on a set of samples; of token sequences every labelled place counts.

    Attributes:
        loss: mean loss; may be infinite or NaN for a broken model.
        class_correct: int64 (classes,), how many of each class were recognized.
        class_counts: int64 (classes,), how many of each class there are; 0 where a small test set lacks it.
    """

    loss: float
    class_correct: NDArray[np.int64]
    class_counts: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Per cent of all that were recognized."""
        return 100.0 * float(self.class_correct.sum()) / float(self.class_counts.sum())

    @property
    def per_class_accuracy(self) -> NDArray[np.float64]:
        """Per cent of each class that were recognized, (classes,); NaN for a class that is not tested."""
        with np.errstate(invalid="ignore"):
            return 100.0 * self.class_correct / self.class_counts


def evaluate(
    model: nn.Module, data: PeerData, task: Task, *, batch_size: int = 500, precision: Precision = "auto"
) -> Evaluation:
    """Evaluate a model in evaluation mode on all samples of ``data``, without augmentation.

    Args:
        model: on the device of ``data``; its modes are restored.
        data: the samples, usually ``PeerData.testing``.
        task: makes loss and tally of the model's scores.
        batch_size: samples per forward pass.
        precision: see ``autocast``; the same as in training, so that both see the same numbers.
    """
    device = data.device
    loss = torch.zeros((), dtype=torch.float64, device=device)
    tally = torch.zeros((2, task.num_classes), dtype=torch.int64, device=device)
    with in_mode(model, training=False), torch.inference_mode():
        for inputs, labels in data.in_order(batch_size):
            with autocast(device, precision):
                scores = model(inputs)
            loss += task.loss(scores, labels, "sum")
            tally += task.tally(scores, labels)
    correct, counts = tally.cpu().numpy()
    return Evaluation(loss.item() / int(counts.sum()), correct, counts)


def local_accuracy(evaluation: Evaluation, label_counts: NDArray[np.int64]) -> float | None:
    """Return the test accuracy on a peer's own distribution of classes: sum_c p_c * accuracy_c, in per cent.

    p_c is the share of class c among the peer's training samples. So one forward pass over the test set serves both the
    global and the local figure; it equals testing on a test set drawn in the peer's proportions, on average.

    Args:
        evaluation: on the whole test set.
        label_counts: (classes,) the peer's training samples of each class.

    Returns:
        The accuracy; None where nothing tested is of a class that the peer has. Classes that are not tested, as a small
        test subset may lack, are left out and the other shares scaled up.
    """
    tested = evaluation.class_counts > 0
    weights = np.where(tested, label_counts, 0).astype(np.float64)
    if not weights.sum():
        return None
    return float(weights[tested] @ evaluation.per_class_accuracy[tested] / weights.sum())
