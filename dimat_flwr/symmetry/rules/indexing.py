"""Operators that pick parts of a tensor."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dimat_flwr.symmetry.constraints import moves
from dimat_flwr.symmetry.constraints.atoms import Ints
from dimat_flwr.symmetry.constraints.join import as_value, tie_along
from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.constraints.moves import Tensorlike
from dimat_flwr.symmetry.constraints.param import Param
from dimat_flwr.symmetry.constraints.value import Const, Value, line
from dimat_flwr.symmetry.rules.context import Context, dim_of
from dimat_flwr.symmetry.rules.registry import UnsupportedError, rule


def _cut(ctx: Context, x: Tensorlike, dim: int, sizes: Sequence[int]) -> tuple[Tensorlike, ...]:
    d = dim_of(dim, len(x.shape))
    ends = np.cumsum(sizes)
    pairs = zip(ends - sizes, ends, strict=True)
    return tuple(moves.take(x, d, np.arange(a, b, dtype=np.int64), ctx.ledger) for a, b in pairs)


@rule("chunk", kind="moves", aliases=True)
def chunk(ctx: Context, x: Tensorlike, chunks: int, dim: int = 0) -> tuple[Tensorlike, ...]:
    """Cut into equal parts, the last perhaps smaller."""
    total = x.shape[dim_of(dim, len(x.shape))]
    return split(ctx, x, -(-total // chunks), dim)


@rule("split", "split_with_sizes", kind="moves", aliases=True)
def split(ctx: Context, x: Tensorlike, split_size: Any, dim: int = 0) -> tuple[Tensorlike, ...]:
    """Cut into parts of given size or sizes."""
    total = x.shape[dim_of(dim, len(x.shape))]
    if isinstance(split_size, int):
        sizes = [min(split_size, total - i) for i in range(0, total, split_size)]
    else:
        sizes = [int(i) for i in split_size]
    return _cut(ctx, x, dim, sizes)


@rule("unbind", kind="moves", aliases=True)
def unbind(ctx: Context, x: Tensorlike, dim: int = 0) -> tuple[Tensorlike, ...]:
    """All slices along a dim."""
    d = dim_of(dim, len(x.shape))
    shape = (*x.shape[:d], *x.shape[d + 1 :])
    return tuple(moves.reshape(part, shape, ctx.ledger) for part in _cut(ctx, x, d, [1] * x.shape[d]))


@rule("narrow", kind="moves", aliases=True)
def narrow(ctx: Context, x: Tensorlike, dim: int, start: int, length: int) -> Tensorlike:
    """A run of places along a dim."""
    d = dim_of(dim, len(x.shape))
    first = start % x.shape[d]
    return moves.take(x, d, np.arange(first, first + length, dtype=np.int64), ctx.ledger)


@rule("select", kind="moves", aliases=True)
def select(ctx: Context, x: Tensorlike, dim: int, index: int) -> Tensorlike:
    """One slice along a dim."""
    d = dim_of(dim, len(x.shape))
    part = moves.take(x, d, np.array([index % x.shape[d]], np.int64), ctx.ledger)
    return moves.reshape(part, (*x.shape[:d], *x.shape[d + 1 :]), ctx.ledger)


@rule("slice", kind="moves", aliases=True)
def slice_(ctx: Context, x: Tensorlike, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Tensorlike:
    """A Python slice along a dim."""
    d = dim_of(dim, len(x.shape))
    index = np.arange(x.shape[d], dtype=np.int64)[slice(start, end, step)]
    return x if len(index) == x.shape[d] else moves.take(x, d, index, ctx.ledger)


@rule("index_select", kind="moves")
def index_select(ctx: Context, x: Tensorlike, dim: int, index: Any) -> Tensorlike:
    """Places along a dim, by a constant index."""
    return _picked(ctx, x, dim_of(dim, len(x.shape)), index)


@rule("slice_scatter", kind="moves")
def slice_scatter(
    ctx: Context, x: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    """``x`` with a slice replaced."""
    value, part = as_value(x, ctx.ledger), as_value(src, ctx.ledger)
    d = dim_of(dim, len(value.shape))
    places = np.arange(value.shape[d], dtype=np.int64)
    inside = places[slice(start, end, step)]
    order = np.argsort(np.concatenate([np.delete(places, inside), inside]), kind="stable")
    rest = moves.take(value, d, np.delete(places, inside), ctx.ledger)
    joined = moves.cat([as_value(rest, ctx.ledger), part], d, ctx.ledger)
    return as_value(moves.take(joined, d, order.astype(np.int64), ctx.ledger), ctx.ledger)


@rule("select_scatter", kind="moves")
def select_scatter(ctx: Context, x: Any, src: Any, dim: int, index: int) -> Value:
    """``x`` with one slice replaced."""
    value, part = as_value(x, ctx.ledger), as_value(src, ctx.ledger)
    d = dim_of(dim, len(value.shape))
    lifted = moves.reshape(part, (*part.shape[:d], 1, *part.shape[d:]), ctx.ledger)
    first = index % value.shape[d]
    return slice_scatter(ctx, value, lifted, d, first, first + 1)


@rule("getitem", "index", kind="moves", aliases=True)
def getitem(ctx: Context, x: Any, item: Any) -> Any:
    """Python indexing by integers, slices, None, Ellipsis and constant index tensors."""
    if isinstance(x, tuple | list):
        return x[item]
    if isinstance(x, Const):
        x = as_value(x, ctx.ledger)
    items = list(item) if isinstance(item, tuple | list) else [item]
    if isinstance(item, list):  # the operator's form: one index or None per dim
        items = [slice(None) if i is None else i for i in items]
    consumed = sum(1 for i in items if i is not None and i is not Ellipsis)
    if Ellipsis not in [i if i is Ellipsis else 0 for i in items]:
        items.append(Ellipsis)
    where = next(n for n, i in enumerate(items) if i is Ellipsis)
    items[where : where + 1] = [slice(None)] * (len(x.shape) - consumed)
    if any(isinstance(i, Value) for i in items):
        return _by_value(ctx, x, items)
    tensors = sum(isinstance(i, Const) for i in items)
    if tensors > 1 or (tensors == 1 and isinstance(x, Param)):
        return _advanced(ctx, x, items)
    dim = 0
    for i in items:
        if i is None:
            continue
        if isinstance(i, slice):
            x = slice_(ctx, x, dim, i.start, i.stop, 1 if i.step is None else i.step)
        elif isinstance(i, Const):
            x = _picked(ctx, x, dim, i)
        elif isinstance(i, int) and not isinstance(i, bool):
            x = moves.take(x, dim, np.array([i % x.shape[dim]], np.int64), ctx.ledger)
        else:
            raise UnsupportedError(f"index of type {type(i).__name__}")
        dim += 1
    if tensors and any(isinstance(i, int) for i in items):
        raise UnsupportedError("an integer beside an index tensor")
    return moves.reshape(x, ctx.shape, ctx.ledger)


def _index(index: Any) -> Any:
    if not isinstance(index, Const) or index.tensor.dtype in (torch.bool, torch.uint8):
        raise UnsupportedError("an index that is not a constant integer tensor")
    return index.tensor.detach().cpu().numpy().astype(np.int64)


def _picked(ctx: Context, x: Tensorlike, dim: int, index: Any) -> Tensorlike:
    """Keep the places that an index names; one that is saved with the weights may name others in another model."""
    places = _index(index).reshape(-1) % x.shape[dim]
    if not index.exact:
        x = tied_over(x, frozenset({dim}), ctx.ledger)
    return moves.take(x, dim, places, ctx.ledger)


def _by_value(ctx: Context, x: Any, items: list[Any]) -> Value:
    """One index that is computed, into a dim along which nothing moves, beside whole dims."""
    value = as_value(x, ctx.ledger)
    (d,) = [n for n, i in enumerate(items) if isinstance(i, Value)]
    index = items[d]
    if index.varying or any(i != slice(None) for n, i in enumerate(items) if n != d):
        raise UnsupportedError("a computed index that moves, or stands beside others")
    value = tied_over(value, frozenset({d}), ctx.ledger)
    rank, new = len(value.shape), len(index.shape)
    if ctx.shape != (*value.shape[:d], *index.shape, *value.shape[d + 1 :]):
        raise UnsupportedError("an index that picks by truth")

    def inserted(array: Ints) -> Ints:
        return array.reshape((*array.shape[:d], *(1,) * new, *array.shape[d + 1 :]))

    spread = (*value.spread[:d], *(size > 1 for size in index.shape), *value.spread[d + 1 : rank])
    return Value(ctx.shape, inserted(value.atoms), inserted(value.roles), spread)


def tied_over(x: Tensorlike, dims: frozenset[int], ledger: Ledger) -> Value:
    """Return a value along whose ``dims`` nothing moves, and any place may be any other."""
    value = tie_along(as_value(x, ledger), dims, ledger)
    spread = tuple(s or (d in dims and value.shape[d] > 1) for d, s in enumerate(value.spread))
    return Value(value.shape, value.atoms, ledger.refresh(ledger.collapse_roles(value.roles, dims)), spread)


def _advanced(ctx: Context, x: Tensorlike, items: list[Any]) -> Tensorlike:
    """Indexing by constant tensors, as numpy does it."""
    if None in [i if i is None else 0 for i in items]:
        raise UnsupportedError("None beside an index tensor")
    key = tuple(_index(i) if isinstance(i, Const) else i for i in items)
    picked = frozenset(d for d, i in enumerate(items) if not isinstance(i, slice))
    exact = all(i.exact for i in items if isinstance(i, Const))
    if not exact:
        x = tied_over(x, picked, ctx.ledger)
    if isinstance(x, Param):
        return x.listed(x.element_ids()[key])
    if not isinstance(x, Value) or x.varying & picked:
        raise UnsupportedError("several index tensors into dims that move")
    roles = x.roles
    for d in picked if exact else ():  # different places, different roles
        roles = ctx.ledger.combine(roles, line(x.shape[d], d, roles.ndim))

    def pick(array: Ints) -> Ints:
        full = [x.shape[d] if d in picked else size for d, size in enumerate(array.shape)]
        kept = [slice(None) if isinstance(i, slice) and n == 1 else i for i, n in zip(key, full, strict=True)]
        return np.broadcast_to(array, full)[tuple(kept)]

    value = Value(ctx.shape, pick(x.atoms), pick(roles), tuple(size > 1 for size in ctx.shape))
    return ctx.ledger.settle(value)
