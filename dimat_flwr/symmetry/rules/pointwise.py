"""Elementwise operators: what stands at one place of the operands decides that place of the result."""

from typing import Any

from dimat_flwr.symmetry.constraints.param import Param
from dimat_flwr.symmetry.constraints.value import Const, Value
from dimat_flwr.symmetry.rules.context import Context
from dimat_flwr.symmetry.rules.registry import rule
from dimat_flwr.symmetry.rules.shaping import along_channels

_POINTWISE = (
    "abs", "absolute", "acos", "acosh", "add", "addcdiv", "addcmul", "and", "and_", "asin",
    "asinh", "atan", "atan2", "atanh", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "ceil",
    "celu", "clamp", "clamp_max", "clamp_min", "clip", "copysign", "cos", "cosh", "div", "divide",
    "elu", "eq", "erf", "erfc", "erfinv", "exp", "exp2", "expm1",
    "float_power", "floor", "floor_divide", "floordiv", "fmod",
    "frac", "ge", "gelu", "greater", "gt", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hypot",
    "iadd", "imul", "invert", "isfinite", "isinf", "isnan", "isub", "itruediv", "le", "leaky_relu", "lerp",
    "less", "lgamma", "log", "log10", "log1p", "log2", "log_sigmoid", "logaddexp", "logical_and", "logical_not",
    "logical_or", "logical_xor", "logit", "logsigmoid", "lt", "masked_fill", "maximum", "minimum", "mish",
    "mod", "mul", "multiply", "nan_to_num", "ne", "neg", "negative", "not_equal", "or", "or_", "pos",
    "positive", "pow", "reciprocal", "relu", "relu6", "remainder", "round", "rsqrt", "rsub", "selu",
    "sgn", "sigmoid", "sign", "silu", "sin", "sinc", "sinh", "softplus", "softshrink", "softsign", "sqrt",
    "square", "sub", "subtract", "tan", "tanh", "tanhshrink", "threshold", "true_divide",
    "truediv", "trunc", "where", "xlogy", "xor",
)  # fmt: skip

_DROPOUT = (
    "alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout", "feature_dropout",
)  # fmt: skip


@rule(*_POINTWISE, kind="pointwise")
def pointwise(ctx: Context, *args: Any, **kwargs: Any) -> Value:
    """Every tensor among the arguments meets the others."""
    return ctx.like(*(x for x in (*args, *kwargs.values()) if isinstance(x, Value | Param | Const)))


@rule(*_DROPOUT, kind="pointwise", aliases=True, training=2)
def dropout(ctx: Context, x: Any, *args: Any, **kwargs: Any) -> Value:
    """The units that are dropped are drawn anew each time, so no unit is preferred."""
    return ctx.like(x)


@rule("stochastic_depth", kind="pointwise", aliases=True, training=3)
def stochastic_depth(ctx: Context, x: Any, p: float, mode: str, training: bool = True) -> Value:
    """Drops whole samples or the whole batch."""
    return ctx.like(x)


@rule("rrelu", kind="pointwise", training=3)
def rrelu(ctx: Context, x: Any, *args: Any, **kwargs: Any) -> Value:
    """Leaky ReLU whose slope is drawn in training."""
    return ctx.like(x)


@rule(
    "alias", "bfloat16", "contiguous", "cpu", "cuda", "detach", "double", "float", "half", "identity", "lift_fresh",
    "requires_grad", "to", "type", "type_as", kind="same", aliases=True,
)  # fmt: skip
def same(ctx: Context, x: Value | Param, *args: Any, **kwargs: Any) -> Value | Param:
    """The tensor itself, perhaps in another format."""
    return x


@rule("_to_copy", "clone", "lift_fresh_copy", kind="same")
def fresh_copy(ctx: Context, x: Value | Param, *args: Any, **kwargs: Any) -> Value | Param:
    """A copy, perhaps in another format."""
    return x


@rule("prelu", "_prelu_kernel", kind="pointwise")
def prelu(ctx: Context, x: Value, weight: Value | Param) -> Value:
    """PReLU: one slope, or one per channel (dim 1)."""
    ctx.reads(weight)
    return ctx.like(x, along_channels(weight, len(x.shape), ctx.ledger))
