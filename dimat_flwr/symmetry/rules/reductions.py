"""Operators that reduce over dims or normalize along them."""

from typing import Any

from dimat_flwr.symmetry.constraints import moves
from dimat_flwr.symmetry.constraints.join import as_value, reduce
from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.constraints.value import Value
from dimat_flwr.symmetry.rules.context import Context, dim_of, dims_of
from dimat_flwr.symmetry.rules.indexing import chunk
from dimat_flwr.symmetry.rules.registry import UnsupportedError, rule


def _reduced(ctx: Context, x: Any, dim: Any) -> Value:
    return ctx.mixed_over(x, dims_of(dim, len(x.shape)))


@rule(
    "mean",
    "sum",
    "prod",
    "amax",
    "amin",
    "logsumexp",
    "all",
    "any",
    "count_nonzero",
    "nansum",
    "nanmean",
    kind="reduces",
)
def reduction(ctx: Context, x: Any, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Value:
    """Reductions called as f(x, dim, keepdim)."""
    return _reduced(ctx, x, kwargs.get("axis", dim))


@rule("std", "var", kind="reduces")
def variance(ctx: Context, x: Any, dim: Any = None, *args: Any, **kwargs: Any) -> Value:
    """Standard deviation and variance."""
    return _reduced(ctx, x, None if isinstance(dim, bool) else dim)


@rule("norm", "vector_norm", "linalg_vector_norm", kind="reduces")
def norm(ctx: Context, x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Value:
    """p-norms of vectors."""
    if p in ("nuc", "fro") and dim is not None and len(dims_of(dim, len(x.shape))) > 1 and p == "nuc":
        raise UnsupportedError("the nuclear norm")
    return _reduced(ctx, x, dim)


@rule("max", "min", kind="reduces")
def extreme(ctx: Context, x: Any, other: Any = None, keepdim: bool = False, *, dim: Any = None) -> Any:
    """Of all elements, of two tensors, or (values, indices) along a dim that does not move."""
    along = other if isinstance(other, int) else dim
    if along is None:
        return _reduced(ctx, x, None) if other is None else ctx.like(x, other)
    value, d = as_value(x, ctx.ledger), dim_of(along, len(x.shape))
    if d in value.varying:
        raise UnsupportedError("an index into a dim that moves")
    ctx.reads(x)
    reduced = reduce(value, frozenset({d}), "blocks", ctx.ledger)
    parts = [as_value(moves.reshape(reduced, size, ctx.ledger), ctx.ledger) for size in ctx.sizes]
    return parts[0], parts[1]


@rule("argmax", "argmin", kind="reduces")
def position(ctx: Context, x: Any, dim: Any = None, keepdim: bool = False) -> Value:
    """The index of the extreme, of a dim that does not move."""
    value = as_value(x, ctx.ledger)
    if value.varying & dims_of(dim, len(value.shape)):
        raise UnsupportedError("an index into a dim that moves")
    return _reduced(ctx, x, dim)


@rule("softmax", "log_softmax", "_softmax", "_log_softmax", "softmin", kind="reduces")
def softmax(ctx: Context, x: Any, dim: int = -1, *args: Any, **kwargs: Any) -> Value:
    """Normalized along a dim, whatever its order."""
    return scaled_along(as_value(x, ctx.ledger), frozenset({dim_of(dim, len(x.shape))}), "blocks", ctx.ledger)


@rule("normalize", kind="reduces")
def normalize(ctx: Context, x: Any, p: Any = 2.0, dim: Any = 1, eps: Any = 1e-12, **kwargs: Any) -> Value:
    """Divided by the norm along a dim."""
    return scaled_along(as_value(x, ctx.ledger), dims_of(dim, len(x.shape)), "blocks", ctx.ledger)


def scaled_along(value: Value, dims: frozenset[int], kind: str, ledger: Ledger) -> Value:
    """Return ``value`` normalized by statistics over ``dims``: its elements there are members of one block."""
    reduce(value, dims, kind, ledger)
    return Value(value.shape, value.atoms, ledger.refresh(value.roles), value.spread)


@rule("cumsum", "cumprod", "logcumsumexp", kind="reduces")
def cumulated(ctx: Context, x: Any, dim: int = -1, *args: Any, **kwargs: Any) -> Value:
    """Every place along the dim depends on those before it."""
    rank = len(x.shape)
    return ctx.ordered_along(x, free=set(range(rank)) - {dim_of(dim, rank)})


@rule("glu", kind="pointwise")
def glu(ctx: Context, x: Any, dim: int = -1) -> Value:
    """The first half gated by the second."""
    ctx.reads(x)
    return ctx.like(*chunk(ctx, x, 2, dim))
