"""Streaming cross-moments of two networks' units: one pass over the data, only the my x neighbour block.

Each batch is centred by its own mean in the activations' precision (float32 at least), and batches are combined
in float64 by the pairwise update of Chan, Golub and LeVeque (1979), so neither a large mean nor a long stream costs
digits.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Statistic = Literal["correlation", "covariance"]

ROUNDING = 64  # how many times the relative rounding error sums of many terms may be off

# With fewer positions a sample's matrix product is too thin: then one product over all samples is worth its copy.
_THIN = 32


@dataclass(frozen=True)
class Centred:
    """One batch of one network's units, centred, with its moments; computed once and used for every neighbour.

    Attributes:
        values: (samples, units, positions), the activations less ``mean``.
        mean: (units,) float64, over samples and positions.
        squares: (units,) float64, sums of the squared ``values``.
    """

    values: Tensor
    mean: Tensor
    squares: Tensor

    @property
    def count(self) -> int:
        """How many observations each unit has: samples times positions."""
        return self.values.shape[0] * self.values.shape[2]


def centre(units: Tensor, spent: Centred | None = None) -> Centred:
    """Centre a batch of activations.

    Args:
        units: (samples, units, positions), any floating type and strides; kept as it is.
        spent: an earlier result that is not needed any more; its memory is used again where it fits, which spares
            the processor the mapping of as much fresh memory for every batch.
    """
    units = _wide(units)
    mean = _mean(units)
    fits = spent is not None and spent.values.shape == units.shape and spent.values.dtype == units.dtype
    values = torch.sub(units, mean.to(units.dtype)[:, None], out=spent.values if spent is not None and fits else None)
    return Centred(values, mean, _squares(values))


class CrossMoments:
    """Running means, variances and the cross-covariance of my units and a neighbour's at one tap.

    Args:
        units: how many units either network has at the tap.
        device: where the activations are.

    Attributes:
        precision: relative rounding error of the activations taken in.
    """

    def __init__(self, units: int, device: torch.device) -> None:
        self._count = 0
        self._mean_mine = torch.zeros(units, dtype=torch.float64, device=device)
        self._mean_theirs = torch.zeros_like(self._mean_mine)
        self._squares_mine = torch.zeros_like(self._mean_mine)
        self._squares_theirs = torch.zeros_like(self._mean_mine)
        self._cross = torch.zeros(units, units, dtype=torch.float64, device=device)
        self.precision = 0.0

    def add(self, mine: Centred, theirs: Tensor) -> None:
        """Take in one batch.

        Args:
            mine: my units of the batch, centred.
            theirs: (samples, units, positions), the neighbour's units for the same samples and positions.
        """
        theirs = _wide(theirs)
        mean = _mean(theirs)
        cross, squares = _product(mine.values, theirs, mean.to(theirs.dtype))
        step_mine, step_theirs = mine.mean - self._mean_mine, mean - self._mean_theirs
        total = self._count + mine.count
        between = self._count * mine.count / total
        self._cross += cross
        self._cross.addr_(step_mine, step_theirs, alpha=between)
        self._squares_mine += mine.squares + between * step_mine.square()
        self._squares_theirs += squares + between * step_theirs.square()
        self._mean_mine += step_mine * (mine.count / total)
        self._mean_theirs += step_theirs * (mine.count / total)
        self._count = total
        self.precision = torch.finfo(theirs.dtype).eps

    def statistic(self, kind: Statistic) -> Tensor:
        """Return C (units, units) float64: row u is my unit u, column v the neighbour's unit v.

        Args:
            kind: ``"correlation"`` (Pearson's, in [-1, 1]; 0 where a unit never varies, as dead units do) or
                ``"covariance"`` (population covariance, in the activations' units squared).
        """
        if kind == "covariance":
            return self._cross / self._count
        scale_mine = self._inverse_root(self._squares_mine, self._mean_mine)
        scale_theirs = self._inverse_root(self._squares_theirs, self._mean_theirs)
        product: Tensor = scale_mine[:, None] * self._cross * scale_theirs
        return product

    def _inverse_root(self, squares: Tensor, mean: Tensor) -> Tensor:
        # Variation that rounding alone explains, in sums of many terms, is none: such units correlate with nothing.
        rounding = self._count * (ROUNDING * self.precision * mean).square()
        varying = torch.where(squares > rounding, squares, torch.inf)
        return varying.rsqrt()


def _wide(units: Tensor) -> Tensor:
    return units if units.dtype in (torch.float32, torch.float64) else units.float()


def _mean(units: Tensor) -> Tensor:
    return units.sum(2).sum(0, dtype=torch.float64) / (units.shape[0] * units.shape[2])


def _squares(values: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(values, dim=2)
    return norms.square().sum(0, dtype=torch.float64)


def _product(mine: Tensor, theirs: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums of mine[u] * (theirs[v] - mean[v]), (units, units), and of their squares, (units,), both float64."""
    samples, units, positions = theirs.shape
    rows_already = theirs.stride(1) == 1 and mine.stride(1) == 1
    if theirs.device.type != "cpu" or rows_already or positions < _THIN:
        centred = theirs.transpose(1, 2).reshape(-1, units) - mean
        cross = mine.transpose(1, 2).reshape(-1, units).T @ centred
        return cross.double(), torch.linalg.vector_norm(centred, dim=0).square().double()
    # Sample by sample the centred copy stays in the processor's cache, which halves the memory traffic.
    cross = torch.zeros(units, units, dtype=theirs.dtype)
    squares = torch.zeros(units, dtype=torch.float64)
    centred = torch.empty(units, positions, dtype=theirs.dtype)
    for sample in range(samples):
        torch.sub(theirs[sample], mean[:, None], out=centred)
        cross.addmm_(mine[sample], centred.T)
        squares += torch.linalg.vector_norm(centred, dim=1).square()
    return cross.double(), squares
