"""Normalization layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dimat_flwr.symmetry.constraints import moves
from dimat_flwr.symmetry.constraints.join import Operand, as_value, elementwise, tie_along
from dimat_flwr.symmetry.constraints.value import Value
from dimat_flwr.symmetry.rules.reductions import scaled_along
from dimat_flwr.symmetry.rules.registry import Context, UnsupportedError, rule
from dimat_flwr.symmetry.rules.shaping import along_channels


def _per_channel(ctx: Context, value: Value, vectors: Sequence[Any]) -> Value:
    """Combine a value (batch, channels, ...) with vectors (channels,)."""
    shaped = [along_channels(v, len(value.shape), ctx.ledger) for v in vectors if v is not None]
    return elementwise([value, *shaped], ctx.ledger)


@rule("batch_norm")
def batch_norm(ctx: Context, x: Any, *vectors: Any, **kwargs: Any) -> Value:
    """Each channel (dim 1) by its own statistics; weight, bias and running statistics move with the channels."""
    value = as_value(x, ctx.ledger)
    value = tie_along(value, value.varying - {1}, ctx.ledger)
    named = ("weight", "bias", "running_mean", "running_var")
    given = [*vectors[:4], *(kwargs.get(name) for name in named)]
    return _per_channel(ctx, value, given)


@rule("_native_batch_norm_legit_no_training")
def native_batch_norm(ctx: Context, x: Any, *vectors: Any) -> tuple[Value, ...]:
    """What torch.export makes of ``batch_norm``: the result, and statistics that eval mode leaves empty."""
    return batch_norm(ctx, x, *vectors), *(ctx.ledger.neutral(size) for size in ctx.sizes[1:])


@rule("instance_norm")
def instance_norm(
    ctx: Context, x: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    *args: Any, **kwargs: Any,
) -> Value:  # fmt: skip
    """Each channel of each sample by its own statistics."""
    value = as_value(x, ctx.ledger)
    value = tie_along(value, range(2, len(value.shape)), ctx.ledger)
    return _per_channel(ctx, value, [running_mean, running_var, weight, bias])


@rule("layer_norm", "rms_norm")
def layer_norm(
    ctx: Context, x: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None, *args: Any,
    **kwargs: Any,
) -> Value:  # fmt: skip
    """Statistics over the last dims, whatever their order; weight and bias move with them."""
    value = as_value(x, ctx.ledger)
    rank = len(value.shape)
    dims = frozenset(range(rank - len(normalized_shape), rank))
    value = scaled_along(value, dims, "blocks", ctx.ledger)
    vectors: list[Operand] = [v for v in (weight, bias) if v is not None and not isinstance(v, float)]
    return elementwise([value, *vectors], ctx.ledger)


@rule("group_norm")
def group_norm(ctx: Context, x: Any, num_groups: int, weight: Any = None, bias: Any = None, *args: Any) -> Value:
    """Statistics over each group of channels: channels stay in their group, groups move as wholes."""
    value = as_value(x, ctx.ledger)
    value = tie_along(value, value.varying - {1}, ctx.ledger)
    b, c, *space = value.shape
    grouped = as_value(moves.reshape(value, (b, num_groups, c // num_groups, *space), ctx.ledger), ctx.ledger)
    scaled = scaled_along(grouped, frozenset(range(2, len(grouped.shape))), "groups", ctx.ledger)
    back = as_value(moves.reshape(scaled, value.shape, ctx.ledger), ctx.ledger)
    return _per_channel(ctx, back, [weight, bias])


@rule("local_response_norm")
def local_response_norm(ctx: Context, x: Any, *args: Any, **kwargs: Any) -> Value:
    """Neighbouring channels (dim 1) normalize each other, so channels stay."""
    value = as_value(x, ctx.ledger)
    if value.varying - {1}:
        raise UnsupportedError("local response normalization of values that move along space")
    ctx.ledger.fix(value.atoms)
    return Value(value.shape, np.zeros((1,) * len(value.shape), np.int64), value.roles, value.spread)
