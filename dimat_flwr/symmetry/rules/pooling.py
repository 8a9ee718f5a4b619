"""Operators that look at neighbourhoods in space, alike for every channel."""

from typing import Any

from dimat_flwr.symmetry.constraints.value import Value
from dimat_flwr.symmetry.rules.context import Context
from dimat_flwr.symmetry.rules.registry import UnsupportedError, rule


def _over_space(ctx: Context, x: Any, space: int) -> Value:
    """The last ``space`` dims are space; whatever stands before them, batch and channels or one of them, is free."""
    return ctx.ordered_along(x, free=range(len(x.shape) - space))


@rule(
    "max_pool1d", "avg_pool1d", "lp_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d", kind="reduces",
)  # fmt: skip
def pool1d(ctx: Context, x: Any, *args: Any, **kwargs: Any) -> Value:
    """Pooling over the last dim."""
    return _over_space(ctx, x, 1)


@rule(
    "max_pool2d", "avg_pool2d", "lp_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "_adaptive_avg_pool2d",
    kind="reduces",
)  # fmt: skip
def pool2d(ctx: Context, x: Any, *args: Any, **kwargs: Any) -> Value:
    """Pooling over the last two dims."""
    return _over_space(ctx, x, 2)


@rule(
    "max_pool3d", "avg_pool3d", "adaptive_avg_pool3d", "adaptive_max_pool3d", "_adaptive_avg_pool3d", "lp_pool3d",
    kind="reduces",
)  # fmt: skip
def pool3d(ctx: Context, x: Any, *args: Any, **kwargs: Any) -> Value:
    """Pooling over the last three dims."""
    return _over_space(ctx, x, 3)


@rule(
    "interpolate", "upsample", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d",
    "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d", "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d", "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa", kind="reduces",
)  # fmt: skip
def resize(ctx: Context, x: Any, *args: Any, **kwargs: Any) -> Value:
    """Resizing of (batch, channels, space ...)."""
    if len(x.shape) < 3:
        raise UnsupportedError("resizing of a value without space")
    return _over_space(ctx, x, len(x.shape) - 2)
