"""Several models' weights under doubly stochastic matrices: the relaxation of their permutations and its derivatives.

With M_p the matrices of model p, one per permutation group, and M_p x_p its tensors with every permutable axis
multiplied by the axis's matrix, the objective is f(M) = sum over pairs p < q of <M_p x_p, M_q x_q> (C2M3, Crisostomi et
al. 2024, https://arxiv.org/abs/2405.17897, section 3). At permutations it is what weight matching maximizes for two
models, summed over all pairs. BatchNorm's running statistics take no part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from dimat_flwr.merging.descent import permutable_tensors
from dimat_flwr.symmetry import AxisRef, Group, Permutation, PermutationSpec

# Group -> (N, N), doubly stochastic: row u says which of the model's units are taken for unit u of the result.
Matrices = Mapping[str, Tensor]
Indices = Mapping[str, Tensor]  # group -> (N,), the same for a permutation: unit u is the model's unit index[u]


@dataclass(frozen=True)
class _Axis:
    group: str
    dim: int | None
    positions: Tensor  # (slots, N) along the axis, block-major

    def take(self, tensor: Tensor) -> Tensor:
        """Return what every unit holds, (slots, N, features)."""
        return self._flat(tensor)[self.positions]

    def put(self, tensor: Tensor, held: Tensor) -> Tensor:
        """Return a copy of the tensor in which every unit holds something else."""
        moved = tensor.reshape(-1) if self.dim is None else tensor.movedim(self.dim, 0)
        flat = self._flat(tensor).clone()
        flat[self.positions] = held
        result = flat.reshape(moved.shape)
        return result.reshape(tensor.shape) if self.dim is None else result.movedim(0, self.dim)

    def multiplied(self, tensor: Tensor, matrices: Matrices) -> Tensor:
        return self.put(tensor, matrices[self.group].to(tensor) @ self.take(tensor))

    def permuted(self, tensor: Tensor, indices: Indices) -> Tensor:
        return self.put(tensor, self.take(tensor)[:, indices[self.group]])

    def _flat(self, tensor: Tensor) -> Tensor:
        if self.dim is None:
            return tensor.reshape(-1, 1)
        return tensor.movedim(self.dim, 0).reshape(tensor.shape[self.dim], -1)


class RelaxedTensor:
    """One tensor of all models, whose permutable axes are multiplied by each model's matrices.

    Args:
        axes: the groups that lie on it and where.
        values: the tensor in each of the K models.
    """

    def __init__(self, axes: Sequence[tuple[Group, AxisRef]], values: Sequence[Tensor]) -> None:
        widened = max(axis.conv_groups for _, axis in axes)
        self._values = [_widened(value, widened) for value in values]
        # Axes that lie side by side along one dimension never multiply each other: they are one side.
        sides: dict[tuple[int | None, int], list[_Axis]] = {}
        for group, axis in axes:
            positions = axis.positions.reshape(len(axis.positions), -1)
            sides.setdefault((axis.dim, axis.conv_groups), []).append(_Axis(group.name, axis.dim, positions))
        self._sides = list(sides.values())

    def gradient(self, matrices: Sequence[Matrices], into: Sequence[dict[str, Tensor]]) -> None:
        """Add df/dM of this tensor to what is in ``into``: per model, group -> float64 (N, N)."""
        products = [self._multiplied(value, own) for value, own in zip(self._values, matrices, strict=True)]
        total = torch.stack(products).sum(0)
        for product, value, own, found in zip(products, self._values, matrices, into, strict=True):
            others = total - product
            for side in self._sides:
                rest = self._multiplied(value, own, leave=side)
                for axis in side:
                    held, offered = (axis.take(x).movedim(0, 1).flatten(1) for x in (others, rest))
                    scores = (held @ offered.T).double().cpu()
                    found[axis.group] = found[axis.group] + scores if axis.group in found else scores

    def along(self, matrices: Sequence[Matrices], vertices: Sequence[Indices]) -> Polynomial:
        """Return f((1 - a) M + a V) of this tensor as an exact polynomial in a.

        Args:
            matrices: M, per model.
            vertices: V, per model, permutations.
        """
        degree = len(self._sides)
        parts = [self._parts(*of) for of in zip(self._values, matrices, vertices, strict=True)]
        sums = [torch.stack([own[k] for own in parts]).sum(0) for k in range(degree + 1)]
        basis = [Polynomial([0, 1]) ** k * Polynomial([1, -1]) ** (degree - k) for k in range(degree + 1)]
        total = Polynomial([0.0])
        for j in range(degree + 1):
            for k in range(degree + 1):
                pairs = _inner(sums[j], sums[k]) - sum(_inner(own[j], own[k]) for own in parts)
                total = total + 0.5 * pairs * basis[j] * basis[k]
        return total

    def _multiplied(self, value: Tensor, matrices: Matrices, leave: Sequence[_Axis] = ()) -> Tensor:
        for side in self._sides:
            if side is not leave:
                for axis in side:
                    value = axis.multiplied(value, matrices)
        return value

    def _parts(self, value: Tensor, matrices: Matrices, vertex: Indices) -> list[Tensor]:
        """Return c_0, c_1, ... with M(a) x = sum_k c_k a^k (1 - a)^(sides - k)."""
        parts = [value]
        for side in self._sides:
            kept, moved = list(parts), list(parts)
            for axis in side:
                kept = [axis.multiplied(part, matrices) for part in kept]
                moved = [axis.permuted(part, vertex) for part in moved]
            parts = [
                *kept[:1],
                *(kept[k] + moved[k - 1] for k in range(1, len(parts))),
                *moved[-1:],
            ]
        return parts


class Relaxation:
    """All permutable tensors of several models.

    Args:
        states: the models' K state dicts.
        spec: their permutation groups.
    """

    def __init__(self, states: Sequence[Mapping[str, Tensor]], spec: PermutationSpec) -> None:
        self._spec = spec
        owners = permutable_tensors(states[0], spec)
        self._tensors = [
            RelaxedTensor(axes, [state[name].detach().to(states[0][name].device) for state in states])
            for name, axes in owners.items()
        ]

    def objective(self, matrices: Sequence[Matrices]) -> float:
        """Return f at the matrices."""
        identity = [{name: torch.arange(len(m)) for name, m in own.items()} for own in matrices]
        return float(self.along(matrices, identity)(0.0))

    def gradient(self, matrices: Sequence[Matrices]) -> list[dict[str, Tensor]]:
        """Return df/dM per model: group -> float64 (N, N); groups that hold no weights are missing."""
        found: list[dict[str, Tensor]] = [{} for _ in matrices]
        for tensor in self._tensors:
            tensor.gradient(matrices, found)
        return found

    def along(self, matrices: Sequence[Matrices], vertices: Sequence[Indices]) -> Polynomial:
        """Return f((1 - a) M + a V) as an exact polynomial in a."""
        return sum((tensor.along(matrices, vertices) for tensor in self._tensors), Polynomial([0.0]))

    def indices(self, permutation: Permutation) -> dict[str, Tensor]:
        """Return a permutation as indices over all N units of each group, block-major."""
        found = {}
        for name, group in self._spec.groups.items():
            order = permutation[name]
            if group.parent is not None:
                order = (permutation[group.parent][:, None] * group.units + order).reshape(-1)
            found[name] = order
        return found


def one_hot(indices: Indices) -> dict[str, Tensor]:
    """Return permutations as matrices, float64."""
    return {name: torch.eye(len(index), dtype=torch.float64)[index] for name, index in indices.items()}


def _widened(tensor: Tensor, conv_groups: int) -> Tensor:
    """Return a grouped convolution's weight (O, I/G, ...) as the block-diagonal weight (O, I, ...) it stands for."""
    if conv_groups == 1:
        return tensor
    rows, columns = tensor.shape[0] // conv_groups, tensor.shape[1]
    wide = tensor.new_zeros(tensor.shape[0], conv_groups * columns, *tensor.shape[2:])
    for group in range(conv_groups):
        own = slice(group * rows, (group + 1) * rows)
        wide[own, group * columns : (group + 1) * columns] = tensor[own]
    return wide


def _inner(first: Tensor, second: Tensor) -> float:
    return float(torch.dot(first.reshape(-1).double(), second.reshape(-1).double()))
