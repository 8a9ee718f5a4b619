"""Moving the elements of a value about: atoms and roles follow by the same move."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dimat_flwr.symmetry.constraints.atoms import FIXED, UNIFORM, Ints, count_distinct
from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.constraints.param import Param
from dimat_flwr.symmetry.constraints.value import Shape, Value, line, segments

Tensorlike = Value | Param


def permute(x: Tensorlike, dims: Sequence[int], ledger: Ledger) -> Tensorlike:
    """Reorder the dims."""
    if isinstance(x, Param):
        return x.permuted(dims)
    shape = tuple(x.shape[d] for d in dims)
    roles = ledger.refresh(x.roles.transpose(dims))
    return Value(shape, x.atoms.transpose(dims), roles, tuple(x.spread[d] for d in dims))


def expand(x: Tensorlike, shape: Shape) -> Tensorlike:
    """Broadcast to a shape; the new extent does not count as varying."""
    if isinstance(x, Param):
        return x.expanded(shape)
    lead = (1,) * (len(shape) - len(x.shape))
    spread = (*(False for _ in lead), *x.spread)
    return Value(shape, x.atoms.reshape(lead + x.atoms.shape), x.roles.reshape(lead + x.roles.shape), spread)


def take(x: Tensorlike, dim: int, index: Ints, ledger: Ledger) -> Tensorlike:
    """Keep the places ``index`` (1-D) along a dim."""
    if isinstance(x, Param):
        return x.taken(dim, index)
    shape = (*x.shape[:dim], len(index), *x.shape[dim + 1 :])
    spread = (*x.spread[:dim], x.spread[dim] and len(index) > 1, *x.spread[dim + 1 :])
    roles = x.roles.take(index, axis=dim) if x.roles.shape[dim] > 1 else x.roles
    if x.atoms.shape[dim] > 1:
        if count_distinct(index) < len(index):  # copies of one place are told apart
            roles = ledger.combine(roles, _along(_copies(index), dim, len(shape)))
        return Value(shape, x.atoms.take(index, axis=dim), roles, spread)
    whole = np.array_equal(index, np.arange(x.shape[dim]))  # another part of a dim is another thing
    return Value(shape, x.atoms, roles if whole else ledger.refresh(roles), spread)


def _copies(index: Ints) -> Ints:
    """Return, for each entry, how often it has occurred before."""
    order = np.argsort(index, kind="stable")
    _, start, count = np.unique(index[order], return_index=True, return_counts=True)
    copies = np.empty_like(index)
    copies[order] = np.arange(len(index)) - np.repeat(start, count)
    return copies


def pad(x: Value, dim: int, before: int, after: int, ledger: Ledger) -> Value:
    """Add constant places at the ends of a dim."""
    shape = (*x.shape[:dim], x.shape[dim] + before + after, *x.shape[dim + 1 :])
    spread = (*x.spread[:dim], True, *x.spread[dim + 1 :])
    if x.atoms.shape[dim] == 1:
        return Value(shape, x.atoms, ledger.refresh(x.roles), spread)
    width = [(before, after) if d == dim else (0, 0) for d in range(len(shape))]
    full = tuple(shape[dim] - before - after if d == dim else size for d, size in enumerate(x.roles.shape))
    roles = np.pad(np.broadcast_to(x.roles, full), width, constant_values=-1)
    return Value(shape, np.pad(x.atoms, width, constant_values=UNIFORM), ledger.refresh(roles), spread)


def cat(xs: Sequence[Value], dim: int, ledger: Ledger) -> Value:
    """Join values along a dim."""
    shape = (*xs[0].shape[:dim], sum(x.shape[dim] for x in xs), *xs[0].shape[dim + 1 :])
    spread = tuple(d == dim or any(x.spread[d] for x in xs) for d in range(len(shape)))
    arrays = []
    # a part that does not vary along the dim is the same at each of its places, like padding
    xs = [replace(x, atoms=np.full_like(x.atoms, UNIFORM)) if _is_uniform(x, dim) else x for x in xs]
    for parts in ([x.atoms for x in xs], [x.roles for x in xs]):
        common = list(np.broadcast_shapes(*((*p.shape[:dim], 1, *p.shape[dim + 1 :]) for p in parts)))
        full = [[*common[:dim], x.shape[dim], *common[dim + 1 :]] for x in xs]
        arrays.append(np.concatenate([np.broadcast_to(p, f) for p, f in zip(parts, full, strict=True)], axis=dim))
    atoms, roles = arrays
    movable = [np.unique(x.atoms[x.atoms > UNIFORM]) for x in xs]
    uniform = sum(bool((x.atoms == UNIFORM).any()) for x in xs) > 1  # one constant is not another
    if uniform or sum(map(len, movable)) > len(np.unique(np.concatenate(movable))):  # the same places in several parts
        part = np.repeat(np.arange(len(xs), dtype=np.int64), [x.shape[dim] for x in xs])
        roles = ledger.combine(roles, _along(part, dim, len(shape)))
    return ledger.settle(Value(shape, atoms, ledger.refresh(roles), spread))


def _is_uniform(x: Value, dim: int) -> bool:
    return x.shape[dim] > 1 and not x.spread[dim] and x.atoms.size == 1 and int(x.atoms.flat[0]) == FIXED


def reshape(x: Tensorlike, shape: Shape, ledger: Ledger) -> Tensorlike:
    """Regroup the dims in row-major order; dims that move and dims that do not may be mixed and parted again."""
    if isinstance(x, Param):
        return x.reshaped(shape)
    x = ledger.settle(x)
    roles, spread = x.roles, []
    runs = segments(x.shape, shape)
    for old, new in runs:
        before, after = [d for d in old if x.shape[d] > 1], [d for d in new if shape[d] > 1]
        if [x.shape[d] for d in before] == [shape[d] for d in after]:
            kept = dict(zip(after, before, strict=True))
            spread += [d in kept and x.spread[kept[d]] for d in new]
            continue
        spread += [shape[d] > 1 and any(x.spread[e] for e in old) for d in new]
        still = [d for d in before if x.atoms.shape[d] == 1]
        if len(still) < len(
            before
        ):  # places that differ along a still dim will lie beside each other: they differ in role
            for d in still:
                roles = ledger.combine(roles, line(x.shape[d], d, len(x.shape)))
        elif still:
            roles = ledger.refresh(roles)
    atoms, roles = (_regrouped(array, x.shape, shape, runs) for array in (x.atoms, roles))
    return ledger.settle(Value(shape, atoms, roles, tuple(spread)))


def _regrouped(array: Ints, old_shape: Shape, new_shape: Shape, runs: list[tuple[list[int], list[int]]]) -> Ints:
    """Reshape an array that has size 1 along dims where nothing changes, keeping size 1 where that is possible."""
    full: list[int] = []
    regrouped: list[int] = []
    for old, new in runs:
        changes = any(array.shape[d] > 1 for d in old)
        full += [old_shape[d] if changes else 1 for d in old]
        regrouped += [new_shape[d] if changes else 1 for d in new]
    return np.broadcast_to(array, full).reshape(regrouped)


def _along(values: Ints, dim: int, rank: int) -> Ints:
    return values.reshape([-1 if d == dim else 1 for d in range(rank)])
