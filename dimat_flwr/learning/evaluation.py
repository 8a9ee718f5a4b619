"""Test accuracy over all classes, and a peer's own share of it from the same forward pass."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dimat_flwr.learning.batches import PeerData
from dimat_flwr.learning.device import Precision, autocast
from dimat_flwr.learning.loss import class_loss
from dimat_flwr.learning.mode import in_mode


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a model does on a set of images.

    Attributes:
        loss: mean cross entropy; may be infinite or NaN for a broken model.
        class_correct: int64 (classes,), images of each class that were recognized.
        class_counts: int64 (classes,), images of each class.
    """

    loss: float
    class_correct: NDArray[np.int64]
    class_counts: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Per cent of all images that were recognized."""
        return 100.0 * float(self.class_correct.sum()) / float(self.class_counts.sum())

    @property
    def per_class_accuracy(self) -> NDArray[np.float64]:
        """Per cent of each class that were recognized, (classes,); NaN for a class without images."""
        with np.errstate(invalid="ignore"):
            return 100.0 * self.class_correct / self.class_counts


def evaluate(
    model: nn.Module, data: PeerData, *, num_classes: int, batch_size: int = 500, precision: Precision = "auto"
) -> Evaluation:
    """Evaluate a model in evaluation mode on all images of ``data``, without augmentation.

    Args:
        model: returns class scores (B, num_classes); on the device of ``data``; its modes are restored.
        data: the images, usually ``PeerData.testing``.
        num_classes: number of classes.
        batch_size: images per forward pass.
        precision: see ``autocast``; the same as in training, so that both see the same numbers.
    """
    device = data.device
    loss = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros(num_classes, dtype=torch.int64, device=device)
    with in_mode(model, training=False), torch.inference_mode(), autocast(device, precision):
        for images, labels in data.in_order(batch_size):
            scores = model(images)
            loss += class_loss(scores, labels, "sum")
            hits = scores.argmax(dim=1) == labels
            correct += torch.bincount(labels[hits], minlength=num_classes)
    return Evaluation(loss.item() / len(data), correct.cpu().numpy(), data.label_counts(num_classes))


def local_accuracy(evaluation: Evaluation, label_counts: NDArray[np.int64]) -> float | None:
    """Return the test accuracy on a peer's own distribution of classes: sum_c p_c * accuracy_c, in per cent.

    p_c is the share of class c among the peer's training images. So one forward pass over the test set serves both the
    global and the local figure; it equals testing on a test set drawn in the peer's proportions, on average.

    Args:
        evaluation: on the whole test set.
        label_counts: (classes,) the peer's training images of each class.

    Returns:
        The accuracy; None where no test image is of a class that the peer has. Classes without test images, as a small
        test subset may lack, are left out and the other shares scaled up.
    """
    tested = evaluation.class_counts > 0
    weights = np.where(tested, label_counts, 0).astype(np.float64)
    if not weights.sum():
        return None
    return float(weights[tested] @ evaluation.per_class_accuracy[tested] / weights.sum())
