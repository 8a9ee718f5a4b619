"""Operators that reduce over dims, normalize along them, or look at neighbourhoods in space."""

from typing import Any

from dimat_flwr.symmetry.constraints import moves
from dimat_flwr.symmetry.constraints.join import as_value, reduce, tie_along
from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.constraints.value import Value
from dimat_flwr.symmetry.rules.indexing import chunk
from dimat_flwr.symmetry.rules.pointwise import pointwise
from dimat_flwr.symmetry.rules.registry import Context, UnsupportedError, dim_of, rule


def _dims(dim: Any, rank: int) -> frozenset[int]:
    if dim is None or dim == [] or dim == ():
        return frozenset(range(rank))
    return frozenset(dim_of(int(d), rank) for d in ([dim] if isinstance(dim, int) else dim))


def _reduced(ctx: Context, x: Any, dim: Any) -> Value:
    value = as_value(x, ctx.ledger)
    result = reduce(value, _dims(dim, len(value.shape)), "blocks", ctx.ledger)
    return as_value(moves.reshape(result, ctx.shape, ctx.ledger), ctx.ledger)


@rule("mean", "sum", "prod", "amax", "amin", "logsumexp", "all", "any", "count_nonzero", "nansum", "nanmean")
def reduction(ctx: Context, x: Any, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Value:
    """Reductions called as f(x, dim, keepdim)."""
    return _reduced(ctx, x, kwargs.get("axis", dim))


@rule("std", "var")
def variance(ctx: Context, x: Any, dim: Any = None, *args: Any, **kwargs: Any) -> Value:
    """Standard deviation and variance."""
    return _reduced(ctx, x, None if isinstance(dim, bool) else dim)


@rule("norm", "vector_norm", "linalg_vector_norm")
def norm(ctx: Context, x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Value:
    """p-norms of vectors."""
    if p in ("nuc", "fro") and dim is not None and len(_dims(dim, len(x.shape))) > 1 and p == "nuc":
        raise UnsupportedError("the nuclear norm")
    return _reduced(ctx, x, dim)


@rule("max", "min")
def extreme(ctx: Context, x: Any, other: Any = None, keepdim: bool = False, *, dim: Any = None) -> Any:
    """Of all elements, of two tensors, or (values, indices) along a dim that does not move."""
    along = other if isinstance(other, int) else dim
    if along is None:
        return _reduced(ctx, x, None) if other is None else pointwise(ctx, x, other)
    value = as_value(x, ctx.ledger)
    if dim_of(along, len(value.shape)) in value.varying:
        raise UnsupportedError("an index into a dim that moves")
    values = _reduced(ctx, value, along)
    return values, _reduced(ctx, value, along)


@rule("argmax", "argmin")
def position(ctx: Context, x: Any, dim: Any = None, keepdim: bool = False) -> Value:
    """The index of the extreme, of a dim that does not move."""
    value = as_value(x, ctx.ledger)
    if value.varying & _dims(dim, len(value.shape)):
        raise UnsupportedError("an index into a dim that moves")
    return _reduced(ctx, value, dim)


@rule("softmax", "log_softmax", "_softmax", "_log_softmax", "softmin")
def softmax(ctx: Context, x: Any, dim: int = -1, *args: Any, **kwargs: Any) -> Value:
    """Normalized along a dim, whatever its order."""
    return scaled_along(as_value(x, ctx.ledger), frozenset({dim_of(dim, len(x.shape))}), "blocks", ctx.ledger)


@rule("normalize")
def normalize(ctx: Context, x: Any, p: Any = 2.0, dim: Any = 1, eps: Any = 1e-12, **kwargs: Any) -> Value:
    """Divided by the norm along a dim."""
    return scaled_along(as_value(x, ctx.ledger), _dims(dim, len(x.shape)), "blocks", ctx.ledger)


def scaled_along(value: Value, dims: frozenset[int], kind: str, ledger: Ledger) -> Value:
    """Return ``value`` normalized by statistics over ``dims``: its elements there are members of one block."""
    reduce(value, dims, kind, ledger)
    return Value(value.shape, value.atoms, ledger.refresh(value.roles), value.spread)


@rule("cumsum", "cumprod", "sort", "logcumsumexp")
def ordered(ctx: Context, x: Any, dim: int = -1, *args: Any, **kwargs: Any) -> Value:
    """Results that depend on the order along a dim: nothing moves along it."""
    value = as_value(x, ctx.ledger)
    d = dim_of(dim, len(value.shape))
    if d in value.varying:
        raise UnsupportedError("an order along a dim that moves")
    return Value(value.shape, value.atoms, ctx.ledger.refresh(value.roles), value.spread)


@rule(
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "lp_pool1d", "lp_pool2d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d",
    "interpolate", "upsample", "upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d",
)  # fmt: skip
def pool(ctx: Context, x: Any, *args: Any, **kwargs: Any) -> Value:
    """Neighbourhoods in space, alike for every channel (dims 0 and 1 stay, the rest is space)."""
    value = as_value(x, ctx.ledger)
    if len(value.shape) != len(ctx.shape) or value.shape[:2] != ctx.shape[:2]:
        raise UnsupportedError("pooling without a batch dim")
    value = tie_along(value, range(2, len(value.shape)), ctx.ledger)
    roles = ctx.ledger.collapse_roles(value.roles, frozenset(range(2, len(value.shape))))
    spread = (*value.spread[:2], *(size > 1 for size in ctx.shape[2:]))
    return Value(ctx.shape, value.atoms, ctx.ledger.refresh(roles), spread)


@rule("glu")
def glu(ctx: Context, x: Any, dim: int = -1) -> Value:
    """The first half gated by the second."""
    return pointwise(ctx, *chunk(ctx, x, 2, dim))
