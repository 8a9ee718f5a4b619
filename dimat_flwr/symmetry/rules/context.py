"""What a rule is given, and the constructors that are safe: whatever they are not told stays in place."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from dimat_flwr.symmetry.constraints import moves
from dimat_flwr.symmetry.constraints.join import Operand, as_value, elementwise, reduce, tie_along
from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.constraints.param import Param
from dimat_flwr.symmetry.constraints.value import Const, Shape, Value
from dimat_flwr.symmetry.rules.registry import UnsupportedError


@dataclass(frozen=True)
class Context:
    """What a rule is given beside the operator's arguments.

    Attributes:
        ledger: where to write down what moves together; the constructors below do.
        shape: shape of the operator's result for the example input, ``()`` if it is not one tensor.
        sizes: the shapes of several results.
        dtype: type of the result, if it is one tensor.
    """

    ledger: Ledger
    shape: Shape
    sizes: Any = None
    dtype: torch.dtype | None = None
    _stated: dict[int, Any] = field(default_factory=dict)  # the operands that a constructor was told of, by id

    def reads(self, *operands: Any) -> None:
        """Say that the rule itself takes care of these operands, beside those it gives to a constructor.

        A rule that uses constructors and leaves a tensor unmentioned is taken to have forgotten it.
        """
        self._stated.update({id(x): x for x in operands})

    def like(self, *operands: Operand) -> Value:
        """Return an elementwise result: every operand moves with every other (broadcasting as torch does)."""
        self.reads(*operands)
        return elementwise(operands, self.ledger)

    def ordered_along(self, x: Operand, *, free: Iterable[int]) -> Value:
        """Return a result of ``self.shape`` in which the order counts along every dim but ``free``.

        Along a free dim place i of the result depends on place i of ``x`` alone, and alike for all i. Along the
        others nothing moves. Dims count from the front.

        Raises:
            UnsupportedError: a free dim has another size in the result.
        """
        self.reads(x)
        value = as_value(x, self.ledger)
        kept = frozenset(free)
        if len(value.shape) != len(self.shape) or any(value.shape[d] != self.shape[d] for d in kept):
            raise UnsupportedError(f"a result of shape {self.shape} from {value.shape}")
        fixed = frozenset(range(len(value.shape))) - kept
        value = tie_along(value, fixed, self.ledger)
        roles = self.ledger.refresh(self.ledger.collapse_roles(value.roles, fixed))
        spread = tuple(s if d in kept else self.shape[d] > 1 for d, s in enumerate(value.spread))
        return Value(self.shape, value.atoms, roles, spread)

    def mixed_over(self, x: Operand, dims: Iterable[int], *, kind: str = "blocks") -> Value:
        """Return a result of ``self.shape``: ``x`` reduced over ``dims``, in whatever order they come.

        The units along ``dims`` stay within the slice they are in, which moves as one of the blocks called ``kind``
        (blocks, heads or groups). The dims go, or stay with size 1, as ``self.shape`` says.
        """
        self.reads(x)
        reduced = reduce(x, frozenset(dims), kind, self.ledger)
        return as_value(moves.reshape(reduced, self.shape, self.ledger), self.ledger)

    def fresh_axis(self, param: Param, axis: int, *, dim: int) -> Value:
        """Return a result of ``self.shape`` whose places along ``dim`` are those of a parameter's axis.

        Nothing else moves.

        Raises:
            UnsupportedError: the parameter is cut or regrouped so that it has no such axis, or its size differs.
        """
        self.reads(param)
        found = param.axis_of(axis)
        if found is None or len(found[1]) != self.shape[dim]:
            raise UnsupportedError(f"'{param.name}' is used in another shape than it has")
        tensor_axis, index = found
        ones = [1] * len(self.shape)
        ones[dim] = -1
        atoms = self.ledger.axis(param.name, tensor_axis).atoms[index].reshape(ones)
        roles = self.ledger.refresh(np.zeros((1,) * len(self.shape), np.int64))
        return Value(self.shape, atoms, roles, tuple(size > 1 for size in self.shape))

    def still(self) -> Value:
        """Return a result of ``self.shape`` that never moves and may differ from place to place."""
        return self.ledger.neutral(self.shape)

    def unstated(self, arguments: Any) -> list[Any]:
        """Return the tensors among an operator's arguments that no constructor was told of, if one was used."""
        if not self._stated:
            return []
        return [x for x in _tensors(arguments) if id(x) not in self._stated]


def _tensors(x: Any) -> list[Any]:
    if isinstance(x, Value | Param | Const):
        return [x]
    if isinstance(x, dict):
        return _tensors(list(x.values()))
    return [t for item in x for t in _tensors(item)] if isinstance(x, list | tuple) else []


def dim_of(dim: int, rank: int) -> int:
    """Return a dim counted from the front."""
    return dim % rank if rank else 0


def dims_of(dims: Any, rank: int) -> frozenset[int]:
    """Return dims counted from the front; all of them for ``None`` and the empty list."""
    if dims is None or dims == [] or dims == ():
        return frozenset(range(rank))
    return frozenset(dim_of(int(d), rank) for d in ([dims] if isinstance(dims, int) else dims))
