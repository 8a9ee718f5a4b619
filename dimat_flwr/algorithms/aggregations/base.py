"""What every aggregation is, and what all that withstand neighbours that lie have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dimat_flwr.topology import Row

State = Mapping[str, Tensor]
Neighbours = Iterable[tuple[int, State]]
"""(Source j, its state dict) in the order of j; may be made while it is read."""
Loss = Callable[[State, int], float]
"""(State dict, number of samples) -> its mean loss on so many of the peer's own training samples, perhaps infinite."""


@dataclass(frozen=True)
class Aggregated:
    """What came of an aggregation.

    Attributes:
        state: the state dict, with the names and types of the peer's own.
        row: what each model came to weigh in it, where that is one number; else its mean over all coordinates. It sums
            to 1, and is 0 for a source that was left out.
        kept: why the peer kept its own model; empty where it did not.
    """

    state: dict[str, Tensor]
    row: Row
    kept: str = ""


class Aggregation(ABC):
    """How a peer's own model and its neighbours' become one; concrete ones are frozen, strict pydantic dataclasses."""

    # True for sum_j W_ij x_j, which goes with every algorithm.
    is_mean: ClassVar[bool] = False
    # True where ``aggregate`` does not call ``loss``: what own samples decide goes with no differential privacy.
    keeps_privacy: ClassVar[bool] = False

    @abstractmethod
    def shortage(self, row: Row) -> str:
        """Return why the rule has no answer for a peer with this row of W, which has sources; empty where it has one.

        A run with such a peer is refused before it starts.
        """

    @abstractmethod
    def aggregate(
        self, own: State, row: Row, neighbours: Neighbours, unmixed: Collection[str], loss: Loss
    ) -> Aggregated:
        """Return what becomes of the models.

        Args:
            own: the peer's own state dict, on its device; it is not changed.
            row: the peer's row of W, over itself and the neighbours.
            neighbours: their state dicts, with the names and shapes of ``own``, on any device.
            unmixed: names of BatchNorm statistics that come from elsewhere than from mixing (``batchnorm.policy``).
            loss: measures a state dict on the peer's own data.
        """


@dataclass(frozen=True, eq=False)
class Model:
    """One of the models that a robust rule chooses from.

    Attributes:
        source: whose it is; -1 for the peer's own.
        x: its coordinates by name, real and at least float32, on the peer's device: all floating-point tensors of the
            state dict but ``unmixed``. The rules take them as one vector; what is tied stands in it once for each name.
        weight: W_ij.
        loss: number of samples -> its mean loss on so many of the peer's own.
    """

    source: int
    x: State
    weight: float
    loss: Callable[[int], float]


class RobustAggregation(Aggregation):
    """Base of the rules that withstand neighbours that lie: they see all models at once.

    So they need memory for as many models as a peer has neighbours, beside its own, where the mean needs one. What is
    no floating-point number, such as counts of batches, stays the peer's own, and so do BatchNorm's running statistics
    unless ``batchnorm.policy`` is ``average``: then they are coordinates like any other. A peer to whom the absence of
    others leaves a row for which the rule has no answer keeps its own model in that exchange.
    """

    @property
    def fewest_sources(self) -> int:
        """How many neighbours the rule needs."""
        return 1

    def shortage(self, row: Row) -> str:
        """See ``Aggregation``."""
        found, needed = len(row.sources), self.fewest_sources
        return f"{found} neighbours, where {type(self).__name__} needs {needed}" if found < needed else ""

    @abstractmethod
    def combine(self, own: Model, others: Sequence[Model]) -> tuple[dict[str, Tensor], Row] | str:
        """Return the new coordinates by name and what each model came to weigh; or why there is no answer for these.

        Args:
            own: the peer's own model.
            others: its neighbours', by source, as many and of such weights as the rule needs.
        """

    def aggregate(
        self, own: State, row: Row, neighbours: Neighbours, unmixed: Collection[str], loss: Loss
    ) -> Aggregated:
        """See ``Aggregation``."""
        mine = {name: tensor.detach().clone() for name, tensor in own.items()}
        names = [name for name, tensor in mine.items() if _is_mixed(tensor) and name not in unmixed]

        def model(source: int, state: State, weight: float) -> Model:
            x = {name: _coordinates(state[name].detach().to(mine[name].device)) for name in names}
            return Model(source, x, weight, lambda samples: loss(state, samples))

        others = [model(j, state, row.sources[j]) for j, state in neighbours]
        kept = self.shortage(row) if others else ""
        if kept or not others:
            return Aggregated(mine, Row(1.0, {other.source: 0.0 for other in others}), kept)
        found = self.combine(model(-1, mine, row.own), others)
        if isinstance(found, str):
            return Aggregated(mine, Row(1.0, {other.source: 0.0 for other in others}), found)
        x, weights = found
        return Aggregated(mine | {name: _as_before(x[name], mine[name]) for name in names}, weights)


def distance(a: Model, b: Model) -> float:
    """Return |a - b|, the Euclidean distance over all coordinates, summed up in float64."""
    norms = [torch.linalg.vector_norm(a.x[name] - b.x[name], dtype=torch.float64) for name in a.x]
    return float(torch.stack(norms).norm()) if norms else 0.0


def weighted_sum(own: Model, others: Sequence[Model], row: Row) -> dict[str, Tensor]:
    """Return the sum of the models' coordinates times their weights in ``row``, by name."""
    weighed = [(model, row.sources[model.source]) for model in others] + [(own, row.own)]
    used = [(model, weight) for model, weight in weighed if weight]
    total = {name: tensor * used[0][1] for name, tensor in used[0][0].x.items()}
    for model, weight in used[1:]:
        for name, tensor in total.items():
            tensor.add_(model.x[name], alpha=weight)
    return total


def _is_mixed(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _coordinates(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        return torch.view_as_real(tensor)
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _as_before(x: Tensor, like: Tensor) -> Tensor:
    return torch.view_as_complex(x.contiguous()) if like.is_complex() else x.to(like.dtype)
