"""Values meeting: elementwise (with broadcasting), reduced over dims, and contracted with each other."""

from collections.abc import Iterable, Sequence

import numpy as np

from dimat_flwr.symmetry.constraints.atoms import FIXED, UNIFORM, Ints, count_distinct
from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.constraints.param import Param
from dimat_flwr.symmetry.constraints.value import Const, Value, constant_value, line

Operand = Value | Param | Const


def as_value(x: Operand, ledger: Ledger) -> Value:
    """Return any tensor as a value, its atoms settled."""
    if isinstance(x, Param):
        return ledger.settle(ledger.param_value(x))
    return constant_value(x) if isinstance(x, Const) else ledger.settle(x)


def elementwise(operands: Sequence[Operand], ledger: Ledger) -> Value:
    """Return the result of an elementwise operator: operands that move must move together."""
    values = [as_value(x, ledger) for x in operands]
    roles = ledger.combine(*_aligned([v.roles for v in values]))
    for x in operands:
        if isinstance(x, Param) and len(operands) > 1:
            _note_use(x, roles, ledger)
    result = values[0]
    for value in values[1:]:
        result = meet(result, value, ledger)
    return Value(result.shape, result.atoms, roles, result.spread)


def _note_use(param: Param, roles: Ints, ledger: Ledger) -> None:
    shape = (1,) * (roles.ndim - len(param.shape)) + param.shape
    broadcast = frozenset(d for d, size in enumerate(shape) if size == 1)
    fitted = ledger.collapse_roles(roles, broadcast)
    if fitted.size > 1:
        ledger.note_use(param, np.broadcast_to(fitted, shape).reshape(param.shape))


def _aligned(arrays: Sequence[Ints]) -> list[Ints]:
    rank = max(a.ndim for a in arrays)
    return [a.reshape((1,) * (rank - a.ndim) + a.shape) for a in arrays]


def meet(left: Value, right: Value, ledger: Ledger, kind: str = "blocks") -> Value:
    """Tie the atoms of two values that are combined elementwise; the roles of the result are the left's.

    ``kind`` says what the blocks are if one value turns out to be made of blocks of the other.
    """
    rank = max(len(left.shape), len(right.shape))
    a, b = _lifted(left, rank, ledger), _lifted(right, rank, ledger)
    shape = tuple(np.broadcast_shapes(a.shape, b.shape))
    spread = tuple(x or y for x, y in zip(a.spread, b.spread, strict=True))
    if a.varying == b.varying:
        if a.atoms.size == 1:
            return Value(shape, _meet_single(a, b, ledger), a.roles, spread)
        return Value(shape, _tie(a, b, ledger), a.roles, spread)
    if not (a.varying < b.varying or b.varying < a.varying):
        return Value(shape, _tie(a, b, ledger), a.roles, spread)
    outer, inner = (a, b) if a.varying < b.varying else (b, a)
    return Value(shape, _nest(outer, inner, kind, ledger), a.roles, spread)


def _lifted(value: Value, rank: int, ledger: Ledger) -> Value:
    lead = rank - len(value.shape)
    ones = (1,) * lead
    lifted = Value(
        ones + value.shape,
        value.atoms.reshape(ones + value.atoms.shape),
        value.roles.reshape(ones + value.roles.shape),
        (False,) * lead + value.spread,
    )
    return ledger.settle(lifted)


def _meet_single(a: Value, b: Value, ledger: Ledger) -> Ints:
    """Neither varies: the result moves with whichever may move."""
    if int(a.atoms.flat[0]) in (FIXED, UNIFORM):
        return b.atoms if int(b.atoms.flat[0]) != UNIFORM else a.atoms
    if int(b.atoms.flat[0]) in (FIXED, UNIFORM):
        return a.atoms
    return _tie(a, b, ledger)


def _tie(a: Value, b: Value, ledger: Ledger) -> Ints:
    """Tie place by place; return the atoms of the operand that tells more places apart."""
    roles = ledger.combine(a.roles, b.roles)
    for d in a.varying ^ b.varying:  # one place meets many: which of them is part of the role
        size = max(a.atoms.shape[d], b.atoms.shape[d])
        roles = roles * size + line(size, d, roles.ndim)
    ledger.tie(a.atoms, b.atoms, roles)
    left, right = np.broadcast_arrays(a.atoms, b.atoms)
    if count_distinct(b.atoms) > count_distinct(a.atoms):
        left, right = right, left
    return np.where(left == UNIFORM, right, left)


def _nest(outer: Value, inner: Value, kind: str, ledger: Ledger) -> Ints:
    """``inner`` varies along more dims than ``outer``; return the atoms of their elementwise combination.

    Along a dim where ``outer`` is broadcast the elements of ``inner`` stay free to move, as members of the block that
    ``outer`` is; along a dim where ``outer`` differs from place to place without moving they have to stay.
    """
    missing = inner.varying - outer.varying
    pinned = frozenset(d for d in missing if outer.spread[d])
    still = outer.atoms.size == 1 and int(outer.atoms.flat[0]) in (FIXED, UNIFORM)
    if still and (not pinned or int(outer.atoms.flat[0]) == UNIFORM):
        return inner.atoms
    anchors = outer.varying | pinned
    free = missing - pinned
    if still and free and max(anchors) < min(free):
        blocks = ledger.atoms.new(tuple(s if d in anchors else 1 for d, s in enumerate(inner.atoms.shape)))
        ledger.put_in_blocks(kind, inner.atoms, blocks, ledger.combine(inner.roles, outer.roles))
        ledger.fix(blocks)
        return inner.atoms
    if not pinned and (not anchors or max(anchors) < min(free)):
        blocks = outer.atoms
        if bool((blocks == FIXED).any()):  # a fixed place needs an atom of its own to be told from the others
            fresh = ledger.atoms.new(blocks.shape)
            ledger.fix(fresh[blocks == FIXED])
            blocks = np.where(blocks == FIXED, fresh, blocks)
        ledger.put_in_blocks(kind, inner.atoms, blocks, ledger.combine(inner.roles, outer.roles))
        return inner.atoms
    if still and free:
        return tie_along(inner, pinned, ledger).atoms
    if still:
        ledger.fix(inner.atoms)
        return np.full_like(inner.atoms, FIXED)
    return _tie(inner, outer, ledger)


def tie_along(value: Value, dims: Iterable[int], ledger: Ledger) -> Value:
    """Tie all places along ``dims``, so that nothing moves along them any more."""
    for d in dims:
        size = value.atoms.shape[d]
        if size > 1:
            ledger.tie(value.atoms, value.atoms.take([0], axis=d), line(size, d, value.atoms.ndim))
    return ledger.settle(value)


def reduce(x: Operand, dims: frozenset[int], kind: str, ledger: Ledger) -> Value:
    """Return ``x`` reduced over ``dims`` by an operator blind to their order; the dims are kept, with size 1."""
    value = as_value(x, ledger)
    inside = value.varying & dims
    atoms = value.atoms
    if inside:
        ledger.observe(value)
        atoms = blocks_over(value, dims, kind, ledger)
    shape = tuple(1 if d in dims else size for d, size in enumerate(value.shape))
    spread = tuple(s and d not in dims for d, s in enumerate(value.spread))
    roles = ledger.refresh(ledger.collapse_roles(value.roles, dims))
    return Value(shape, atoms, roles, spread)


def blocks_over(value: Value, dims: frozenset[int], kind: str, ledger: Ledger) -> Ints:
    """Return one atom per slice of the value along ``dims``, of which the slice's atoms are members."""
    outside = value.varying - dims
    if not outside:
        return np.full((1,) * len(value.shape), FIXED, np.int64)
    blocks = ledger.atoms.new(tuple(s if d in outside else 1 for d, s in enumerate(value.atoms.shape)))
    ledger.put_in_blocks(kind, value.atoms, blocks, value.roles)
    return blocks


def roles_along(value: Value, dim: int, ledger: Ledger) -> Ints:
    """Return one role per place along a dim."""
    others = frozenset(d for d in range(len(value.shape)) if d != dim)
    return np.broadcast_to(ledger.collapse_roles(value.roles, others).reshape(-1), (value.shape[dim],))
