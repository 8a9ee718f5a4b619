"""Tensors that depend on the shapes, types and numbers they are made from, and on no other tensor's values."""

from typing import Any

import torch

from dimat_flwr.symmetry.constraints import moves
from dimat_flwr.symmetry.constraints.join import as_value
from dimat_flwr.symmetry.constraints.param import is_symbolic
from dimat_flwr.symmetry.constraints.value import Const, Value
from dimat_flwr.symmetry.rules.context import Context
from dimat_flwr.symmetry.rules.registry import UnsupportedError, rule


def _full(ctx: Context, number: Any) -> Const:
    if ctx.dtype is None:
        raise UnsupportedError("a result that is not one tensor")
    return Const(torch.full(ctx.shape, number, dtype=ctx.dtype), exact=True)


@rule("zeros", "zeros_like", "new_zeros", "zero", kind="creates")
def zeros(ctx: Context, *args: Any, **kwargs: Any) -> Const:
    """Zeros."""
    return _full(ctx, 0)


@rule("ones", "ones_like", "new_ones", kind="creates")
def ones(ctx: Context, *args: Any, **kwargs: Any) -> Const:
    """Ones."""
    return _full(ctx, 1)


@rule("full_like", "fill", kind="creates")
def full_like(ctx: Context, x: Any, fill_value: Any = None, **kwargs: Any) -> Const | Value:
    """One number everywhere, in the shape of ``x``."""
    return filled(ctx, kwargs.get("value", fill_value))


@rule("full", "new_full", kind="creates")
def full(ctx: Context, *args: Any, **kwargs: Any) -> Const | Value:
    """One number everywhere; it is the last argument."""
    return filled(ctx, kwargs["fill_value"] if "fill_value" in kwargs else args[-1])


def filled(ctx: Context, value: Any) -> Const | Value:
    """Return a number, or a tensor of one element, at every place of the result."""
    if isinstance(value, bool | int | float):
        return _full(ctx, value)
    if isinstance(value, Const) and value.exact and value.tensor.numel() == 1:
        return _full(ctx, value.tensor.item())
    if not is_symbolic(value) and not isinstance(value, Const):
        raise UnsupportedError(f"a fill of {type(value).__name__}")
    one = as_value(value, ctx.ledger)
    return as_value(moves.expand(one, ctx.shape), ctx.ledger)


@rule(
    "empty", "empty_like", "new_empty", "rand", "rand_like", "randn", "randn_like", "randint", "randint_like",
    "randperm", "uniform", "exponential", kind="creates", random=True,
)  # fmt: skip
def drawn(ctx: Context, *args: Any, **kwargs: Any) -> Value:
    """Numbers that are drawn, or left as they happen to be, place by place."""
    if ctx.dtype is None:
        raise UnsupportedError("a result that is not one tensor")
    return ctx.still()


@rule(
    "_assert", "_assert_async", "_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range",
    "sym_constrain_range_for_size", kind="checks",
)  # fmt: skip
def checked(ctx: Context, *args: Any, **kwargs: Any) -> None:
    """Checks of shapes and types, which say nothing about the order of units."""
    return None
