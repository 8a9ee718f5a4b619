"""What the symbolic execution knows about a traced value: who moves with whom, and where it may vary."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dimat_flwr.symmetry.constraints.atoms import FIXED, Ints

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor computed by the network.

    Attributes:
        shape: its shape for the example input.
        atoms: int64 array of the same rank, of size 1 along dims where the atom does not change.
        roles: likewise; elements of one class with one role hold "the same thing", so two classes may only be
            exchanged role by role (x and relu(x) side by side on one axis have the same atoms, but different roles).
        spread: per dim, whether the value may vary along it (a broadcast dim of size > 1 does not).
    """

    shape: Shape
    atoms: Ints
    roles: Ints
    spread: tuple[bool, ...]

    @property
    def varying(self) -> frozenset[int]:
        """The dims along which the atom changes."""
        return frozenset(d for d, size in enumerate(self.atoms.shape) if size > 1)


@dataclass(frozen=True, eq=False)
class Param:
    """A parameter (or a buffer that is state, such as running statistics), or a view of one.

    Attributes:
        name: its (canonical) name in the state dict.
        full_shape: the tensor's own shape.
        ids: the flat index of the tensor's element at each place of the view; ``None`` for the tensor itself.
    """

    name: str
    full_shape: Shape
    ids: Ints | None = None

    @property
    def shape(self) -> Shape:
        """Shape of the view."""
        return self.full_shape if self.ids is None else self.ids.shape

    def element_ids(self) -> Ints:
        """Return the flat index of the tensor's element at each place of the view."""
        if self.ids is not None:
            return self.ids
        return np.arange(int(np.prod(self.full_shape, dtype=np.int64)), dtype=np.int64).reshape(self.full_shape)

    def axis_of(self, dim: int) -> tuple[int, Ints] | None:
        """Return (axis of the tensor, index along it per place along ``dim``) if the view keeps the two in step."""
        if self.ids is None:
            return dim, np.arange(self.full_shape[dim], dtype=np.int64)
        coordinates = np.unravel_index(self.ids, self.full_shape)
        along = []
        for axis, coordinate in enumerate(coordinates):
            line = np.moveaxis(coordinate, dim, 0).reshape(coordinate.shape[dim], -1)[:, 0]
            shape = [1] * coordinate.ndim
            shape[dim] = -1
            if (coordinate == line.reshape(shape)).all():
                if len(np.unique(line)) > 1 or coordinate.shape[dim] == 1:
                    along.append((axis, line.astype(np.int64)))
            elif not (np.moveaxis(coordinate, dim, 0) == np.take(coordinate, 0, axis=dim)).all():
                return None
        return along[0] if len(along) == 1 else None


@dataclass(frozen=True, eq=False)
class Const:
    """A tensor that depends on no input and no parameter.

    Attributes:
        tensor: its value.
        exact: computed from the program text alone; values that stem from buffers may change and only say where
            they *can* vary.
    """

    tensor: torch.Tensor
    exact: bool


def constant_value(const: Const) -> Value:
    """Return the constant as a value that never moves."""
    tensor = const.tensor
    shape = tuple(tensor.shape)
    spread = tuple(
        size > 1 and not (const.exact and bool((tensor == tensor.narrow(d, 0, 1)).all()))
        for d, size in enumerate(shape)
    )
    ones = (1,) * len(shape)
    return Value(shape, np.full(ones, FIXED, np.int64), np.zeros(ones, np.int64), spread)


def compress(array: Ints) -> Ints:
    """Return the array with every dim along which it is constant reduced to size 1."""
    for d, size in enumerate(array.shape):
        if size > 1:
            first = array.take([0], axis=d)
            if (array == first).all():
                array = first
    return array


def line(size: int, dim: int, rank: int) -> Ints:
    """Return 0, 1, ... along one dim of ``rank``."""
    return np.arange(size, dtype=np.int64).reshape([-1 if d == dim else 1 for d in range(rank)])


def is_symbolic(argument: Any) -> bool:
    """Whether an argument is, or holds, something only known symbolically."""
    if isinstance(argument, Value | Param):
        return True
    if isinstance(argument, list | tuple):
        return any(is_symbolic(item) for item in argument)
    if isinstance(argument, dict):
        return any(is_symbolic(item) for item in argument.values())
    return isinstance(argument, slice) and is_symbolic((argument.start, argument.stop, argument.step))
