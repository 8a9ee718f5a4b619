"""Parameters and their views: which element of the tensor stands at each place, as strides where possible."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from dimat_flwr.symmetry.constraints.atoms import Ints
from dimat_flwr.symmetry.constraints.value import Shape, Value, segments


class Dim(NamedTuple):
    """One dim of a strided view.

    Attributes:
        size: how many places.
        axis: the tensor's axis that it runs along, -1 if it repeats the same elements.
        step: by how much the index along that axis grows from place to place.
    """

    size: int
    axis: int
    step: int


@dataclass(frozen=True, eq=False)
class Param:
    """A parameter (or a buffer that is state, such as running statistics), or a view of one.

    A view is strided: place (i, j, ...) shows the element with index starts[k] + sum of the steps of the dims along
    axis k. What cannot be said that way is listed element by element.

    Attributes:
        name: its (canonical) name in the state dict.
        full_shape: the tensor's own shape.
        starts: per axis of the tensor, where the view begins.
        dims: of the view.
        ids: the flat index of the tensor's element at each place, for a view that is not strided.
    """

    name: str
    full_shape: Shape
    starts: tuple[int, ...]
    dims: tuple[Dim, ...]
    ids: Ints | None = None

    @staticmethod
    def whole(name: str, shape: Shape) -> "Param":
        """Return a tensor as it is."""
        return Param(name, shape, (0,) * len(shape), tuple(Dim(size, axis, 1) for axis, size in enumerate(shape)))

    @property
    def is_whole(self) -> bool:
        """Whether this is the tensor as it is."""
        if self.ids is not None or self.shape != self.full_shape:
            return False
        return all(d.size == 1 or (d.axis, d.step) == (axis, 1) for axis, d in enumerate(self.dims))

    @property
    def shape(self) -> Shape:
        """Shape of the view."""
        return tuple(dim.size for dim in self.dims) if self.ids is None else self.ids.shape

    def element_ids(self) -> Ints:
        """Return the flat index of the tensor's element at each place of the view."""
        if self.ids is not None:
            return self.ids
        strides = [int(np.prod(self.full_shape[axis + 1 :], dtype=np.int64)) for axis in range(len(self.full_shape))]
        ids = np.array(sum(start * stride for start, stride in zip(self.starts, strides, strict=True)), np.int64)
        for dim in self.dims:
            along = dim.step * strides[dim.axis] if dim.axis >= 0 else 0
            ids = ids[..., None] + along * np.arange(dim.size, dtype=np.int64)
        return ids

    def axis_of(self, dim: int) -> tuple[int, Ints] | None:
        """Return (axis of the tensor, index along it per place along ``dim``) if the view keeps the two in step."""
        if self.ids is not None:
            return None
        size, axis, step = self.dims[dim]
        if axis < 0 or any(d.axis == axis and d.size > 1 for i, d in enumerate(self.dims) if i != dim):
            return None
        return axis, self.starts[axis] + step * np.arange(size, dtype=np.int64)

    def permuted(self, order: Sequence[int]) -> "Param":
        """Reorder the dims."""
        if self.ids is not None:
            return self.listed(self.ids.transpose(order))
        return replace(self, dims=tuple(self.dims[d] for d in order))

    def expanded(self, shape: Shape) -> "Param":
        """Broadcast to a shape."""
        if self.ids is not None:
            return self.listed(np.broadcast_to(self.ids, shape))
        lead = tuple(Dim(size, -1, 0) for size in shape[: len(shape) - len(self.dims)])
        own = zip(self.dims, shape[len(lead) :], strict=True)
        return replace(self, dims=(*lead, *(dim if dim.size == size else Dim(size, -1, 0) for dim, size in own)))

    def taken(self, dim: int, index: Ints) -> "Param":
        """Keep the places ``index`` (1-D) along a dim."""
        steps = np.diff(index)
        if self.ids is not None or not len(index) or (len(steps) and (steps != steps[0]).any()):
            return self.listed(self.element_ids().take(index, axis=dim))
        _, axis, step = self.dims[dim]
        starts = tuple(s + int(index[0]) * step if axis == k else s for k, s in enumerate(self.starts))
        new = Dim(len(index), axis, step * int(steps[0]) if len(steps) else step)
        return replace(self, starts=starts, dims=(*self.dims[:dim], new, *self.dims[dim + 1 :]))

    def reshaped(self, shape: Shape) -> "Param":
        """Regroup the dims in row-major order."""
        if shape == self.shape:
            return self
        if self.ids is None:
            dims: dict[int, Dim] = {}
            for old, new in segments(self.shape, shape):
                merged = _merged([self.dims[d] for d in old if self.dims[d].size > 1])
                if merged is None:
                    return self.listed(self.element_ids().reshape(shape))
                step = merged.step
                for d in reversed(new):
                    dims[d] = Dim(shape[d], merged.axis if shape[d] > 1 else -1, step if shape[d] > 1 else 0)
                    step *= shape[d]
            return replace(self, dims=tuple(dims[d] for d in range(len(shape))))
        return self.listed(self.ids.reshape(shape))

    def listed(self, ids: Ints) -> "Param":
        """Return the view that shows these elements."""
        return Param(self.name, self.full_shape, self.starts, (), ids)


def _merged(dims: list[Dim]) -> Dim | None:
    """Return the one dim that several neighbouring ones run along together, if there is one."""
    if not dims:
        return Dim(1, -1, 0)
    size, axis, step = dims[-1]
    for dim in reversed(dims[:-1]):
        if dim.axis != axis or dim.step != step * size:
            return None
        size *= dim.size
    return Dim(size, axis, step)


def is_symbolic(argument: Any) -> bool:
    """Whether an argument is, or holds, something only known symbolically."""
    if isinstance(argument, Value | Param):
        return True
    if isinstance(argument, list | tuple):
        return any(is_symbolic(item) for item in argument)
    if isinstance(argument, dict):
        return any(is_symbolic(item) for item in argument.values())
    return isinstance(argument, slice) and is_symbolic((argument.start, argument.stop, argument.step))
