"""Operators that only move elements about."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dimat_flwr.symmetry.constraints import moves
from dimat_flwr.symmetry.constraints.join import as_value, tie_along
from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.constraints.moves import Tensorlike
from dimat_flwr.symmetry.constraints.param import Param
from dimat_flwr.symmetry.constraints.value import Const, Shape, Value
from dimat_flwr.symmetry.rules.context import Context, dim_of
from dimat_flwr.symmetry.rules.registry import UnsupportedError, rule


def _ints(args: Sequence[Any]) -> list[int]:
    """Return dims or sizes given one by one or as one sequence."""
    listed = args[0] if len(args) == 1 and isinstance(args[0], list | tuple) else args
    return [int(i) for i in listed]


def along_channels(vector: Tensorlike | Const, rank: int, ledger: Ledger) -> Tensorlike:
    """Return a vector (C,) shaped to broadcast along dim 1 of a value of ``rank`` dims."""
    tensor = as_value(vector, ledger) if isinstance(vector, Const) else vector
    shape = tuple(tensor.shape[0] if d == min(1, rank - 1) else 1 for d in range(rank))
    return moves.reshape(tensor, shape, ledger)


@rule(
    "view",
    "reshape",
    "_unsafe_view",
    "view_as",
    "reshape_as",
    "flatten",
    "unflatten",
    "ravel",
    kind="moves",
    aliases=True,
)
def regroup(ctx: Context, x: Tensorlike, *args: Any, **kwargs: Any) -> Tensorlike:
    """Everything that keeps the row-major order; the result's shape says all."""
    if args and not isinstance(args[0], int | list | tuple | Value | Param | Const):
        raise UnsupportedError("view as another dtype")
    return moves.reshape(x, ctx.shape, ctx.ledger)


@rule("unsqueeze", "squeeze", kind="moves", aliases=True)
def ones(ctx: Context, x: Tensorlike, *args: Any, **kwargs: Any) -> Tensorlike:
    """Dims of size 1 come and go."""
    return moves.reshape(x, ctx.shape, ctx.ledger)


@rule("permute", kind="moves", aliases=True)
def permute(ctx: Context, x: Tensorlike, *dims: Any, **kwargs: Any) -> Tensorlike:
    """Reorder dims."""
    order = _ints(dims or (kwargs["dims"],))
    return moves.permute(x, [dim_of(d, len(order)) for d in order], ctx.ledger)


@rule("transpose", "swapaxes", "swapdims", kind="moves", aliases=True)
def transpose(ctx: Context, x: Tensorlike, dim0: int, dim1: int) -> Tensorlike:
    """Swap two dims."""
    order = list(range(len(x.shape)))
    a, b = dim_of(dim0, len(order)), dim_of(dim1, len(order))
    order[a], order[b] = order[b], order[a]
    return moves.permute(x, order, ctx.ledger)


@rule("t", "T", "mT", "adjoint", kind="moves", aliases=True)
def transposed(ctx: Context, x: Tensorlike) -> Tensorlike:
    """Swap the last two dims of a matrix."""
    return x if len(x.shape) < 2 else transpose(ctx, x, -2, -1)


@rule("movedim", "moveaxis", kind="moves", aliases=True)
def movedim(ctx: Context, x: Tensorlike, source: Any, destination: Any) -> Tensorlike:
    """Move dims elsewhere."""
    rank = len(x.shape)
    start = [dim_of(d, rank) for d in _ints([source] if isinstance(source, int) else source)]
    end = [dim_of(d, rank) for d in _ints([destination] if isinstance(destination, int) else destination)]
    rest = iter([d for d in range(rank) if d not in start])
    placed = dict(zip(end, start, strict=True))
    return moves.permute(x, [placed[d] if d in placed else next(rest) for d in range(rank)], ctx.ledger)


@rule("expand", "expand_as", "broadcast_to", kind="moves", aliases=True)
def expand(ctx: Context, x: Tensorlike | Const, *args: Any, **kwargs: Any) -> Tensorlike:
    """Broadcast; a constant gets here where the other operand, whose shape it takes, is none."""
    return moves.expand(as_value(x, ctx.ledger) if isinstance(x, Const) else x, ctx.shape)


@rule("copy", kind="moves")
def copy(ctx: Context, x: Tensorlike | Const, source: Tensorlike | Const, *args: Any, **kwargs: Any) -> Value:
    """The source in place of ``x``, broadcast to its shape."""
    return as_value(moves.expand(as_value(source, ctx.ledger), ctx.shape), ctx.ledger)


@rule("repeat", "tile", kind="moves")
def repeat(ctx: Context, x: Tensorlike, *args: Any, **kwargs: Any) -> Tensorlike:
    """Put copies side by side."""
    shape = (1,) * (len(ctx.shape) - len(x.shape)) + x.shape
    result = moves.reshape(x, shape, ctx.ledger)
    for d, size in enumerate(ctx.shape):
        if size != shape[d]:
            result = moves.take(result, d, np.arange(size, dtype=np.int64) % shape[d], ctx.ledger)
    return result


@rule("repeat_interleave", kind="moves")
def repeat_interleave(ctx: Context, x: Tensorlike, repeats: Any, dim: int | None = None, **kwargs: Any) -> Tensorlike:
    """Repeat each place along a dim."""
    if not isinstance(repeats, int) or dim is None:
        raise UnsupportedError("repeats that differ by place, or without a dim")
    d = dim_of(dim, len(x.shape))
    return moves.take(x, d, np.repeat(np.arange(x.shape[d], dtype=np.int64), repeats), ctx.ledger)


@rule("cat", "concat", "concatenate", kind="moves")
def cat(ctx: Context, tensors: Sequence[Any], dim: int = 0, **kwargs: Any) -> Value:
    """Join along a dim."""
    values = [as_value(x, ctx.ledger) for x in tensors]
    kept = [v for v in values if v.shape != (0,)]  # torch skips legacy empty tensors
    return moves.cat(kept, dim_of(kwargs.get("axis", dim), len(kept[0].shape)), ctx.ledger)


@rule("stack", kind="moves")
def stack(ctx: Context, tensors: Sequence[Any], dim: int = 0) -> Value:
    """Join along a new dim."""
    values = [as_value(x, ctx.ledger) for x in tensors]
    d = dim_of(dim, len(values[0].shape) + 1)
    shape = (*values[0].shape[:d], 1, *values[0].shape[d:])
    lifted = [moves.reshape(v, shape, ctx.ledger) for v in values]
    return moves.cat([v for v in lifted if isinstance(v, Value)], d, ctx.ledger)


@rule("flip", kind="moves")
def flip(ctx: Context, x: Tensorlike, *dims: Any) -> Tensorlike:
    """Reverse dims."""
    for dim in _ints(dims):
        d = dim_of(dim, len(x.shape))
        x = moves.take(x, d, np.arange(x.shape[d], dtype=np.int64)[::-1], ctx.ledger)
    return x


@rule("roll", kind="moves")
def roll(ctx: Context, x: Tensorlike, shifts: Any, dims: Any = None) -> Tensorlike:
    """Rotate dims."""
    if dims is None or dims == []:
        raise UnsupportedError("roll of the flattened tensor")
    shift_list = [shifts] if isinstance(shifts, int) else shifts
    for shift, dim in zip(shift_list, [dims] if isinstance(dims, int) else dims, strict=True):
        d = dim_of(dim, len(x.shape))
        x = moves.take(x, d, np.roll(np.arange(x.shape[d], dtype=np.int64), shift), ctx.ledger)
    return x


@rule("pad", "constant_pad_nd", kind="moves")
def pad(ctx: Context, x: Tensorlike, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Value:
    """Add places at the ends of dims (negative: remove them), given from the last dim backwards."""
    result = as_value(x, ctx.ledger)
    for i in range(len(pad) // 2):
        d = len(result.shape) - 1 - i
        before, after = int(pad[2 * i]), int(pad[2 * i + 1])
        if before == after == 0:
            continue
        if mode != "constant":  # reflections depend on the order of the places
            result = tie_along(result, [d], ctx.ledger)
        stop = result.shape[d] - max(0, -after)
        if before < 0 or after < 0:
            kept = moves.take(result, d, np.arange(max(0, -before), stop, dtype=np.int64), ctx.ledger)
            result = as_value(kept, ctx.ledger)
        result = moves.pad(result, d, max(0, before), max(0, after), ctx.ledger)
    return result


def _regrouped(x: Tensorlike, split: Shape, order: Sequence[int], shape: Shape, ledger: Ledger) -> Tensorlike:
    return moves.reshape(moves.permute(moves.reshape(x, split, ledger), order, ledger), shape, ledger)


@rule("pixel_shuffle", kind="moves")
def pixel_shuffle(ctx: Context, x: Tensorlike, upscale_factor: int) -> Tensorlike:
    """(*, C r^2, H, W) -> (*, C, H r, W r)."""
    *lead, c, h, w = x.shape
    r, n = upscale_factor, len(lead)
    order = [*range(n), n, n + 3, n + 1, n + 4, n + 2]
    return _regrouped(x, (*lead, c // r**2, r, r, h, w), order, ctx.shape, ctx.ledger)


@rule("pixel_unshuffle", kind="moves")
def pixel_unshuffle(ctx: Context, x: Tensorlike, downscale_factor: int) -> Tensorlike:
    """(*, C, H r, W r) -> (*, C r^2, H, W)."""
    *lead, c, h, w = x.shape
    r, n = downscale_factor, len(lead)
    order = [*range(n), n, n + 2, n + 4, n + 1, n + 3]
    return _regrouped(x, (*lead, c, h // r, r, w // r, r), order, ctx.shape, ctx.ledger)


@rule("channel_shuffle", "native_channel_shuffle", kind="moves")
def channel_shuffle(ctx: Context, x: Tensorlike, groups: int) -> Tensorlike:
    """(B, G C, ...) -> (B, C G, ...)."""
    b, c, *rest = x.shape
    order = [0, 2, 1, *range(3, 3 + len(rest))]
    return _regrouped(x, (b, groups, c // groups, *rest), order, ctx.shape, ctx.ledger)
