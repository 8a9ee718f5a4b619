"""What a peer trained within one message, summed up into one event, however many calls it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dimat_flwr.events import Training
from dimat_flwr.learning import TrainingResult


@dataclass
class _Timed:
    loss: float = 0.0


class TrainingLog:
    """Sums of losses, samples, steps and seconds."""

    def __init__(self) -> None:
        self._loss, self._samples, self._steps, self._seconds = 0.0, 0, 0, 0.0
        self._withheld = False

    def add(self, result: TrainingResult) -> None:
        """Add a training."""
        self._withheld = self._withheld or (result.loss is None and result.samples > 0)
        self._loss += (result.loss or 0.0) * result.samples
        self._samples += result.samples
        self._steps += result.steps
        self._seconds += result.seconds

    @contextmanager
    def timed(self, samples: int) -> Iterator[_Timed]:
        """Add one gradient of so many samples; the caller sets its mean ``loss``."""
        began, timed = time.perf_counter(), _Timed()
        yield timed
        self.add(TrainingResult(timed.loss, samples, 1, time.perf_counter() - began))

    def event(self) -> Training | None:
        """Return the sums as an event, the mean loss over all samples; None if nothing was trained.

        The loss is None if that of any of them is withheld.
        """
        if not self._steps:
            return None
        loss = self._loss / self._samples if self._samples and not self._withheld else None
        return Training(loss=loss, samples=self._samples, steps=self._steps, seconds=round(self._seconds, 3))
