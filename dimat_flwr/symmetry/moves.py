"""Moving the elements of a value about: atoms and roles follow by the same move."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dimat_flwr.symmetry.atoms import FIXED, UNIFORM, Ints
from dimat_flwr.symmetry.ledger import Ledger
from dimat_flwr.symmetry.value import Param, Shape, Value, line

Tensorlike = Value | Param


def permute(x: Tensorlike, dims: Sequence[int], ledger: Ledger) -> Tensorlike:
    """Reorder the dims."""
    if isinstance(x, Param):
        return Param(x.name, x.full_shape, x.element_ids().transpose(dims))
    shape = tuple(x.shape[d] for d in dims)
    roles = ledger.refresh(x.roles.transpose(dims))
    return Value(shape, x.atoms.transpose(dims), roles, tuple(x.spread[d] for d in dims))


def expand(x: Tensorlike, shape: Shape) -> Tensorlike:
    """Broadcast to a shape; the new extent does not count as varying."""
    if isinstance(x, Param):
        return Param(x.name, x.full_shape, np.broadcast_to(x.element_ids(), shape))
    lead = (1,) * (len(shape) - len(x.shape))
    spread = (*(False for _ in lead), *x.spread)
    return Value(shape, x.atoms.reshape(lead + x.atoms.shape), x.roles.reshape(lead + x.roles.shape), spread)


def take(x: Tensorlike, dim: int, index: Ints, ledger: Ledger) -> Tensorlike:
    """Keep the places ``index`` (1-D) along a dim."""
    if isinstance(x, Param):
        return Param(x.name, x.full_shape, x.element_ids().take(index, axis=dim))
    shape = (*x.shape[:dim], len(index), *x.shape[dim + 1 :])
    spread = (*x.spread[:dim], x.spread[dim] and len(index) > 1, *x.spread[dim + 1 :])
    roles = x.roles.take(index, axis=dim) if x.roles.shape[dim] > 1 else x.roles
    if x.atoms.shape[dim] > 1:
        if len(np.unique(index)) < len(index):  # copies of one place are told apart
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
    if sum(map(len, movable)) > len(np.unique(np.concatenate(movable))):  # the same places in several parts
        part = np.repeat(np.arange(len(xs), dtype=np.int64), [x.shape[dim] for x in xs])
        roles = ledger.combine(roles, _along(part, dim, len(shape)))
    return ledger.settle(Value(shape, atoms, ledger.refresh(roles), spread))


def _is_uniform(x: Value, dim: int) -> bool:
    return x.shape[dim] > 1 and not x.spread[dim] and x.atoms.size == 1 and int(x.atoms.flat[0]) == FIXED


def reshape(x: Tensorlike, shape: Shape, ledger: Ledger) -> Tensorlike:
    """Regroup the dims in row-major order; dims that move and dims that do not may be mixed and parted again."""
    if isinstance(x, Param):
        return Param(x.name, x.full_shape, x.element_ids().reshape(shape))
    x = ledger.settle(x)
    segments = _segments(x.shape, shape)
    atoms_old: list[int] = []
    atoms_new: list[int] = []
    roles_old: list[int] = []
    roles_new: list[int] = []
    spread: list[bool] = []
    coordinates: Ints | None = None
    base = np.zeros((1,) * len(x.shape), np.int64)
    touched = False
    for old, new in segments:
        sizes = [shape[d] for d in new]
        moving = [d for d in old if x.atoms.shape[d] > 1]
        still = [d for d in old if x.atoms.shape[d] == 1 and x.shape[d] > 1]
        regrouped = [x.shape[d] for d in old if x.shape[d] > 1] != [s for s in sizes if s > 1]
        touched = touched or (regrouped and bool(still))
        for d in still if regrouped and moving else ():  # places that differ along a still dim differ in role
            place = line(x.shape[d], d, len(x.shape))
            coordinates = place if coordinates is None else coordinates * x.shape[d] + place
        varied = any(x.roles.shape[d] > 1 for d in old) or (regrouped and bool(moving) and bool(still))
        atoms_old += [x.shape[d] if moving else 1 for d in old]
        atoms_new += sizes if moving else [1] * len(new)
        roles_old += [x.shape[d] if varied else 1 for d in old]
        roles_new += sizes if varied else [1] * len(new)
        if regrouped:
            spread += [s > 1 and any(x.spread[d] for d in old) for s in sizes]
        else:
            kept = iter([x.spread[d] for d in old if x.shape[d] > 1])
            spread += [next(kept) if s > 1 else False for s in sizes]
    roles = x.roles if coordinates is None else ledger.combine(x.roles, base + coordinates)
    roles = np.broadcast_to(roles, roles_old).reshape(roles_new)
    atoms = np.broadcast_to(x.atoms, atoms_old).reshape(atoms_new)
    return ledger.settle(Value(shape, atoms, ledger.refresh(roles) if touched else roles, tuple(spread)))


def _along(values: Ints, dim: int, rank: int) -> Ints:
    return values.reshape([-1 if d == dim else 1 for d in range(rank)])


def _segments(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
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
