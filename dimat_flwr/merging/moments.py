"""Streaming cross-moments of two networks' units: one pass over the data, only the my x neighbour block.

Each batch is centred by its own mean and multiplied in the activations' precision (float32 at least). The batches'
means are kept in float64 and combined by the update of Chan, Golub and LeVeque (1979), many batches at once, so neither
a large mean nor a long stream costs digits.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Statistic = Literal["correlation", "covariance"]

ROUNDING = 64  # how many times the relative rounding error sums of many terms may be off

_PENDING = 32  # batches whose means are combined at once: each by itself would cost passes over the whole block


@dataclass(frozen=True)
class Centred:
    """One batch of one network's units, centred, with its moments; computed once and used for every neighbour.

    Attributes:
        values: (units, observations), the activations less ``mean``; stored along the dim that the network stores.
        mean: (units,) float64, over samples and positions.
        squares: (units,) float64, sums of the squared ``values``.
    """

    values: Tensor
    mean: Tensor
    squares: Tensor


def centre(units: Tensor) -> Centred:
    """Centre a batch of activations.

    Args:
        units: (samples, units, positions), any floating type and strides; kept as it is.
    """
    units = units if units.dtype in (torch.float32, torch.float64) else units.float()
    samples, count, positions = units.shape
    mean = units.sum(2).sum(0, dtype=torch.float64) / (samples * positions)
    shift = mean.to(units.dtype)
    if units.stride(1) == 1:  # a Linear's output, say
        values = torch.sub(units.transpose(1, 2), shift).reshape(-1, count).T
        squares = values.square().sum(1)  # a norm along a strided dim takes four times as long
    else:  # one matrix, so that one product does for all samples
        apart = torch.empty(count, samples, positions, dtype=units.dtype, device=units.device)
        values = torch.sub(units.transpose(0, 1), shift[:, None, None], out=apart).view(count, -1)
        squares = torch.linalg.vector_norm(values, dim=1).square()
    return Centred(values, mean, squares.double())


class CrossMoments:
    """Running means, variances and the cross-covariance of my units and a neighbour's at one tap.

    Args:
        units: how many units either network has at the tap.
        dtype: of the activations, float32 or float64; the block of units x units is kept in it.
        device: where the activations are.

    Attributes:
        precision: relative rounding error of the activations taken in.
    """

    def __init__(self, units: int, dtype: torch.dtype, device: torch.device) -> None:
        self._cross = torch.zeros(units, units, dtype=dtype, device=device)
        self._squares = torch.zeros(2, units, dtype=torch.float64, device=device)  # mine, theirs
        self._counts: list[int] = []
        self._means: list[Tensor] = []  # (2, units) each
        self.precision = torch.finfo(dtype).eps

    def add(self, mine: Centred, theirs: Centred) -> None:
        """Take in one batch: my units and the neighbour's for the same samples and positions, in the same order."""
        self._cross.addmm_(mine.values, theirs.values.T)
        self._squares += torch.stack([mine.squares, theirs.squares])
        self._counts.append(mine.values.shape[1])
        self._means.append(torch.stack([mine.mean, theirs.mean]))
        if len(self._counts) > _PENDING:
            self._combine()

    def statistic(self, kind: Statistic) -> Tensor:
        """Return C (units, units) float64: row u is my unit u, column v the neighbour's unit v.

        Args:
            kind: ``"correlation"`` (Pearson's, in [-1, 1]; 0 where a unit never varies, as dead units do) or
                ``"covariance"`` (population covariance, in the activations' units squared).
        """
        self._combine()
        (count,), (mean,) = self._counts, self._means
        cross = self._cross.to(torch.float64, copy=True)
        if kind == "covariance":
            return cross.div_(count)
        # Variation that rounding alone explains, in sums of many terms, is none: such units correlate with nothing.
        rounding = count * (ROUNDING * self.precision * mean).square()
        scale = torch.where(self._squares > rounding, self._squares, torch.inf).rsqrt()
        return cross.mul_(scale[0][:, None]).mul_(scale[1])

    def _combine(self) -> None:
        """Move what the batches' means differ by into the sums, as if they had been one batch."""
        counts = torch.tensor(self._counts, dtype=torch.float64, device=self._cross.device)[:, None, None]
        means = torch.stack(self._means)  # (batches, 2, units)
        mean = (counts * means).sum(0) / counts.sum()
        apart = (means - mean) * counts.sqrt()
        self._squares += apart.square().sum(0)
        mine, theirs = apart.to(self._cross.dtype).unbind(1)
        self._cross.addmm_(mine.T, theirs)
        self._counts, self._means = [sum(self._counts)], [mean]
