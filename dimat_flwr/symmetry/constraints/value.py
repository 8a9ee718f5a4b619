"""What the symbolic execution knows about a traced value: who moves with whom, and where it may vary."""

from dataclasses import dataclass

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
class Const:
    """A tensor that depends on no input and no parameter.

    Attributes:
        tensor: its value.
        exact: computed from the program text alone; values that stem from buffers may change and only say where
            they *can* vary.
    """

    tensor: torch.Tensor
    exact: bool

    @property
    def shape(self) -> Shape:
        """Shape of the tensor."""
        return tuple(self.tensor.shape)


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


def segments(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """Split two shapes of equal size into the shortest runs of dims of equal product."""
    segments: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        left: list[int] = []
        right: list[int] = []
        a = b = 1
        while (i < len(old) or j < len(new)) and (a != b or not (left or right)):
            if i < len(old) and (a <= b or j == len(new)):
                a *= old[i]
                left.append(i)
                i += 1
            else:
                b *= new[j]
                right.append(j)
                j += 1
        while i < len(old) and old[i] == 1 and (j == len(new) or new[j] != 1):
            left.append(i)
            i += 1
        while j < len(new) and new[j] == 1 and (i == len(old) or old[i] != 1):
            right.append(j)
            j += 1
        segments.append((left, right))
    return segments
