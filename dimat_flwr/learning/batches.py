"""One peer's samples as minibatches, made on the device from what is stored: gather, augment, prepare."""

import copy
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dimat_flwr.data import Augmentation, Dataset, DataSource
from dimat_flwr.learning.errors import TrainingError
from dimat_flwr.seeding import derive_seed

Batch = tuple[Tensor, Tensor]


class PeerData:
    """Some of a data set's samples with their labels, on one device.

    Batches are pairs of inputs, prepared by the data set, (B, ...), and labels, (B,) or (B, T). Where the last batch of
    an epoch would hold a single sample, on which BatchNorm may fail, it joins the batch before.

    Attributes:
        inputs: (N, ...), all of the data set's stored inputs, shared between peers.
        labels: (n,) or (n, T), of this peer's samples.
        indices: int64 (n,), which of ``inputs`` are this peer's.
    """

    def __init__(
        self,
        inputs: Tensor,
        labels: Tensor,
        indices: NDArray[np.int64] | None,
        source: DataSource,
        *,
        augmented: bool = False,
    ) -> None:
        """Make it from tensors that are on the device already.

        Args:
            inputs: (N, ...) as ``source.prepare`` takes them.
            labels: (N,) or (N, T).
            indices: which of them are the peer's; None for all.
            source: prepares them.
            augmented: let the source draw augmentation for training batches.

        Raises:
            TrainingError: no samples at all.
        """
        device = inputs.device
        chosen = torch.arange(len(inputs)) if indices is None else torch.from_numpy(np.asarray(indices, np.int64))
        if not len(chosen):
            raise TrainingError(
                f"a peer has no samples of {type(source).__name__}; choose another partition or fewer peers"
            )
        self.inputs = inputs
        self.indices = chosen.to(device)
        self.labels = labels.index_select(0, self.indices)
        self._source, self._augmented = source, augmented
        self._drawn: tuple[int, tuple[Tensor, Augmentation | None]] | None = None

    @staticmethod
    def training(source: DataSource, indices: NDArray[np.int64] | None, device: torch.device) -> "PeerData":
        """Return some of a data set's training samples (None for all); what is stored on the device is shared."""
        data = _on_device(source, device)
        return PeerData(data.train_inputs, data.train_labels, indices, source, augmented=True)

    @staticmethod
    def testing(source: DataSource, device: torch.device) -> "PeerData":
        """Return a data set's test samples, which are never augmented."""
        data = _on_device(source, device)
        return PeerData(data.test_inputs, data.test_labels, None, source)

    def __len__(self) -> int:
        """Return the number n of this peer's samples."""
        return len(self.indices)

    @property
    def device(self) -> torch.device:
        """Where inputs and batches are."""
        return self.inputs.device

    def label_counts(self, num_classes: int) -> NDArray[np.int64]:
        """Return how many labels of each class there are, (num_classes,)."""
        return torch.bincount(self.labels[self.labels >= 0], minlength=num_classes).cpu().numpy()

    def batches_per_epoch(self, batch_size: int) -> int:
        """Return the number of minibatches in an epoch."""
        return _count(len(self), batch_size)

    def epoch(self, batch_size: int, generator: torch.Generator, *, augment: bool = True) -> Iterator[Batch]:
        """Yield all samples once, in random order.

        Args:
            batch_size: samples per batch, >= 1; the last batch may hold fewer, or one more.
            generator: a CPU generator, from which order and augmentation are drawn.
            augment: False: without augmentation, whatever the data set's.
        """
        drawn = self._draw(generator, augment and self._augmented)
        for position in range(_count(len(self), batch_size)):
            yield self._batch(*drawn, *_bounds(position, len(self), batch_size))

    def batch(self, number: int, batch_size: int, seed: int) -> Batch:
        """Return one minibatch of an endless sequence of epochs, a function of the arguments alone.

        So training can stop after any minibatch and be taken up again from the number of those done.

        Args:
            number: 0, 1, 2, ... counted over all epochs.
            batch_size: see ``epoch``.
            seed: of the sequence; every epoch derives its own from it.
        """
        epoch, position = divmod(number, _count(len(self), batch_size))
        epoch_seed = derive_seed(seed, round_number=epoch, purpose="epoch")
        if self._drawn is None or self._drawn[0] != epoch_seed:
            generator = torch.Generator().manual_seed(epoch_seed)
            self._drawn = (epoch_seed, self._draw(generator, self._augmented))
        return self._batch(*self._drawn[1], *_bounds(position, len(self), batch_size))

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Yield all samples once as they lie, without augmentation."""
        order = torch.arange(len(self), device=self.device)
        for start in range(0, len(self), batch_size):
            yield self._batch(order, None, start, min(start + batch_size, len(self)))

    def sampled(self, places: Tensor, generator: torch.Generator) -> Batch:
        """Return the samples at some places, augmented as for training.

        Args:
            places: int64 (B,), each in 0..n - 1.
            generator: a CPU generator, from which augmentation is drawn.
        """
        order = places.to(self.device)
        drawn = self._source.draw_augmentation(len(places), generator, self.device) if self._augmented else None
        return self._batch(order, drawn, 0, len(places))

    def matching_inputs(self, samples: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
        """Return batches of inputs alone, not augmented, for statistics of activations; read several times.

        Args:
            samples: how many to draw without replacement; all, in random order, if the peer has fewer.
            batch_size: see ``epoch``.
            generator: a CPU generator.
        """
        order, _ = self._draw(generator, augment=False)
        wanted = min(samples, len(self))
        bounds = (_bounds(position, wanted, batch_size) for position in range(_count(wanted, batch_size)))
        return [self._inputs(order, None, start, stop) for start, stop in bounds]

    def part(self, samples: int, generator: torch.Generator) -> "PeerData":
        """Return so many of these samples, drawn without replacement; all, in random order, if there are fewer.

        Args:
            samples: how many, >= 1.
            generator: a CPU generator.
        """
        order, _ = self._draw(generator, augment=False)
        part = copy.copy(self)
        part.indices, part.labels = self.indices[order[:samples]], self.labels[order[:samples]]
        part._drawn = None
        return part

    def _draw(self, generator: torch.Generator, augment: bool) -> tuple[Tensor, Augmentation | None]:
        """Draw an epoch's order and augmentation at once: one small transfer to the device instead of one per batch."""
        order = torch.randperm(len(self), generator=generator).to(self.device)
        if not augment:
            return order, None
        return order, self._source.draw_augmentation(len(self), generator, self.device)

    def _batch(self, order: Tensor, augmentation: Augmentation | None, start: int, stop: int) -> Batch:
        return self._inputs(order, augmentation, start, stop), self.labels.index_select(0, order[start:stop])

    def _inputs(self, order: Tensor, augmentation: Augmentation | None, start: int, stop: int) -> Tensor:
        stored = self.inputs.index_select(0, self.indices.index_select(0, order[start:stop]))
        return self._source.prepare(stored, None if augmentation is None else augmentation[start:stop])


def _count(samples: int, batch_size: int) -> int:
    """Return the number of batches; a last one of a single sample joins the one before."""
    whole, rest = divmod(samples, batch_size)
    return whole if whole and (rest == 0 or (rest == 1 and batch_size > 1)) else whole + 1


def _bounds(position: int, samples: int, batch_size: int) -> tuple[int, int]:
    """Return where a batch starts and stops."""
    last = position == _count(samples, batch_size) - 1
    return position * batch_size, samples if last else (position + 1) * batch_size


# One data set per run and process; the second place is for a tool that looks at two.
@lru_cache(maxsize=2)
def _on_device(source: DataSource, device: torch.device) -> Dataset:
    data = source.load()
    return Dataset(
        data.train_inputs.to(device),
        data.train_labels.to(device),
        data.test_inputs.to(device),
        data.test_labels.to(device),
    )
