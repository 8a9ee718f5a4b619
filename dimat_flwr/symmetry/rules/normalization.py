"""Normalization layers."""

from collections.abc import Sequence
from typing import Any

from dimat_flwr.symmetry.constraints import moves
from dimat_flwr.symmetry.constraints.join import Operand, as_value, tie_along
from dimat_flwr.symmetry.constraints.value import Value
from dimat_flwr.symmetry.rules.context import Context
from dimat_flwr.symmetry.rules.reductions import scaled_along
from dimat_flwr.symmetry.rules.registry import UnsupportedError, rule
from dimat_flwr.symmetry.rules.shaping import along_channels


def _per_channel(ctx: Context, value: Value, vectors: Sequence[Any]) -> Value:
    """Combine a value (batch, channels, ...) with vectors (channels,)."""
    given = [v for v in vectors if v is not None]
    ctx.reads(*given)
    return ctx.like(value, *(along_channels(v, len(value.shape), ctx.ledger) for v in given))


@rule("batch_norm", kind="normalizes", state=True, training=5)
def batch_norm(
    ctx: Context, x: Operand, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    *args: Any, **kwargs: Any,
) -> Value:  # fmt: skip
    """Each channel (dim 1) by its own statistics; weight, bias and running statistics move with the channels."""
    return _per_channel(ctx, ctx.ordered_along(x, free=(1,)), [running_mean, running_var, weight, bias])


@rule("_native_batch_norm_legit_no_training", kind="normalizes", state=True)
def native_batch_norm(ctx: Context, x: Operand, weight: Any, bias: Any, mean: Any, var: Any, *args: Any) -> Any:
    """What torch.export makes of ``batch_norm``: the result, and statistics that eval mode leaves empty."""
    value = as_value(x, ctx.ledger)
    value = tie_along(value, value.varying - {1}, ctx.ledger)
    ctx.reads(x)
    return _per_channel(ctx, value, [mean, var, weight, bias]), *(ctx.ledger.neutral(size) for size in ctx.sizes[1:])


@rule("instance_norm", kind="normalizes", state=True, training=5)
def instance_norm(
    ctx: Context, x: Operand, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    *args: Any, space: int | None = None, **kwargs: Any,
) -> Value:  # fmt: skip
    """Each channel of each sample by its own statistics over space (dims 2 on)."""
    if space is not None and len(x.shape) != space + 2:
        raise UnsupportedError("instance normalization without a batch dim")
    return _per_channel(ctx, ctx.ordered_along(x, free=(0, 1)), [running_mean, running_var, weight, bias])


@rule("layer_norm", "rms_norm", kind="normalizes")
def layer_norm(
    ctx: Context, x: Operand, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None, *args: Any,
    **kwargs: Any,
) -> Value:  # fmt: skip
    """Statistics over the last dims, whatever their order; weight and bias move with them."""
    value = as_value(x, ctx.ledger)
    ctx.reads(x)
    rank = len(value.shape)
    dims = frozenset(range(rank - len(normalized_shape), rank))
    value = scaled_along(value, dims, "blocks", ctx.ledger)
    return ctx.like(value, *(v for v in (weight, bias) if v is not None and not isinstance(v, float)))


@rule("group_norm", kind="normalizes")
def group_norm(ctx: Context, x: Operand, num_groups: int, weight: Any = None, bias: Any = None, *args: Any) -> Value:
    """Statistics over each group of channels: channels stay in their group, groups move as wholes."""
    value = ctx.ordered_along(x, free=(1,))
    b, c, *space = value.shape
    grouped = as_value(moves.reshape(value, (b, num_groups, c // num_groups, *space), ctx.ledger), ctx.ledger)
    scaled = scaled_along(grouped, frozenset(range(2, len(grouped.shape))), "groups", ctx.ledger)
    back = as_value(moves.reshape(scaled, value.shape, ctx.ledger), ctx.ledger)
    return _per_channel(ctx, back, [weight, bias])


@rule("local_response_norm", kind="normalizes")
def local_response_norm(ctx: Context, x: Operand, *args: Any, **kwargs: Any) -> Value:
    """Neighbouring channels (dim 1) normalize each other, so channels stay."""
    value = as_value(x, ctx.ledger)
    if value.varying - {1}:
        raise UnsupportedError("local response normalization of values that move along space")
    ctx.ledger.fix(value.atoms)
    return ctx.still()
