"""Operators along whose dim the order counts: sorting, picking the largest, Fourier transforms."""

from typing import Any

from dimat_flwr.symmetry.constraints.join import as_value, tie_along
from dimat_flwr.symmetry.constraints.value import Value
from dimat_flwr.symmetry.rules.context import Context, dim_of, dims_of
from dimat_flwr.symmetry.rules.registry import UnsupportedError, rule


def _ordered(ctx: Context, x: Any, dim: int) -> tuple[Value, ...]:
    """Return several results in which nothing moves along a dim, of whatever size it has there, or without it."""
    value, d = as_value(x, ctx.ledger), dim_of(dim, len(x.shape))
    ctx.reads(x)
    value = tie_along(value, [d], ctx.ledger)
    roles = ctx.ledger.collapse_roles(value.roles, frozenset({d}))
    results = []
    for shape in ctx.sizes:
        if len(shape) != len(value.shape):
            raise UnsupportedError("a result without the dim")
        spread = tuple(shape[d] > 1 if e == d else s for e, s in enumerate(value.spread))
        results.append(Value(shape, value.atoms, ctx.ledger.refresh(roles), spread))
    return tuple(results)


@rule("topk", kind="reduces")
def topk(ctx: Context, x: Any, k: int, dim: int = -1, *args: Any, **kwargs: Any) -> tuple[Value, ...]:
    """The largest along a dim, and where they are."""
    return _ordered(ctx, x, dim)


@rule("sort", "cummax", "cummin", kind="reduces")
def sort(ctx: Context, x: Any, dim: int = -1, *args: Any, **kwargs: Any) -> tuple[Value, ...]:
    """(values, indices) along a dim."""
    return _ordered(ctx, x, dim)


@rule("argsort", kind="reduces")
def argsort(ctx: Context, x: Any, dim: int = -1, *args: Any, **kwargs: Any) -> Value:
    """The order along a dim."""
    rank = len(x.shape)
    return ctx.ordered_along(x, free=set(range(rank)) - {dim_of(dim, rank)})


@rule("fft_fft", "fft_ifft", "fft_rfft", "fft_irfft", "fft_hfft", "fft_ihfft", kind="mixes")
def fourier(ctx: Context, x: Any, n: Any = None, dim: int = -1, norm: Any = None) -> Value:
    """Along one dim; the others stay apart."""
    rank = len(x.shape)
    return ctx.ordered_along(x, free=set(range(rank)) - {dim_of(dim, rank)})


@rule("fft_fft2", "fft_ifft2", "fft_fftn", "fft_ifftn", "fft_rfft2", "fft_rfftn", kind="mixes")
def fourier_of_several(ctx: Context, x: Any, s: Any = None, dim: Any = (-2, -1), norm: Any = None) -> Value:
    """Along several dims."""
    rank = len(x.shape)
    return ctx.ordered_along(x, free=set(range(rank)) - dims_of(dim, rank))


@rule("_fft_r2c", "_fft_c2c", "_fft_c2r", kind="mixes")
def fourier_of_aten(ctx: Context, x: Any, dim: Any, *args: Any) -> Value:
    """What torch.export makes of them."""
    rank = len(x.shape)
    return ctx.ordered_along(x, free=set(range(rank)) - dims_of(dim, rank))


@rule(
    "real", "imag", "conj", "conj_physical", "angle", "attribute real", "attribute imag",
    kind="pointwise", aliases=True,
)  # fmt: skip
def part_of_complex(ctx: Context, x: Any) -> Value:
    """A part of each complex number."""
    return ctx.like(x)
