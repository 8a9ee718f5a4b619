"""Elementwise operators: what stands at one place of the operands decides that place of the result."""

from typing import Any

from dimat_flwr.symmetry.constraints.join import elementwise
from dimat_flwr.symmetry.constraints.value import Const, Param, Value
from dimat_flwr.symmetry.rules.registry import Context, rule
from dimat_flwr.symmetry.rules.shaping import along_channels

_POINTWISE = (
    "abs", "absolute", "acos", "acosh", "add", "addcdiv", "addcmul", "alpha_dropout", "and", "and_", "asin",
    "asinh", "atan", "atan2", "atanh", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "ceil",
    "celu", "clamp", "clamp_max", "clamp_min", "clip", "copysign", "cos", "cosh", "div", "divide", "dropout",
    "dropout1d", "dropout2d", "dropout3d", "elu", "eq", "erf", "erfc", "erfinv", "exp", "exp2", "expm1",
    "feature_alpha_dropout", "feature_dropout", "float_power", "floor", "floor_divide", "floordiv", "fmod",
    "frac", "ge", "gelu", "greater", "gt", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hypot",
    "iadd", "imul", "invert", "isfinite", "isinf", "isnan", "isub", "itruediv", "le", "leaky_relu", "lerp",
    "less", "lgamma", "log", "log10", "log1p", "log2", "log_sigmoid", "logaddexp", "logical_and", "logical_not",
    "logical_or", "logical_xor", "logit", "logsigmoid", "lt", "masked_fill", "maximum", "minimum", "mish",
    "mod", "mul", "multiply", "nan_to_num", "ne", "neg", "negative", "not_equal", "or", "or_", "pos",
    "positive", "pow", "reciprocal", "relu", "relu6", "remainder", "round", "rrelu", "rsqrt", "rsub", "selu",
    "sgn", "sigmoid", "sign", "silu", "sin", "sinc", "sinh", "softplus", "softshrink", "softsign", "sqrt",
    "square", "stochastic_depth", "sub", "subtract", "tan", "tanh", "tanhshrink", "threshold", "true_divide",
    "truediv", "trunc", "where", "xlogy", "xor",
)  # fmt: skip

_SAME = (
    "_to_copy", "alias", "bfloat16", "clone", "contiguous", "cpu", "cuda", "detach", "double", "float", "half",
    "identity", "lift_fresh", "lift_fresh_copy", "requires_grad", "to", "type", "type_as",
)  # fmt: skip


@rule(*_POINTWISE)
def pointwise(ctx: Context, *args: Any, **kwargs: Any) -> Value:
    """Every tensor among the arguments meets the others."""
    operands = [x for x in (*args, *kwargs.values()) if isinstance(x, Value | Param | Const)]
    return elementwise(operands, ctx.ledger)


@rule(*_SAME)
def same(ctx: Context, x: Value | Param, *args: Any, **kwargs: Any) -> Value | Param:
    """The tensor itself, perhaps in another format."""
    return x


@rule("prelu", "_prelu_kernel")
def prelu(ctx: Context, x: Value, weight: Value | Param) -> Value:
    """PReLU: one slope, or one per channel (dim 1)."""
    return elementwise([x, along_channels(weight, len(x.shape), ctx.ledger)], ctx.ledger)
