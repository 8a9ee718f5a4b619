"""Layers that are kept whole in the traced graph, each stated as the operator it is."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Lookup = Callable[[str], Any]  # name within the module -> Param, buffer or None
Call = tuple[str, tuple[Any, ...], dict[str, Any]]
Statement = Callable[[Any, Lookup, tuple[Any, ...]], Call]


def _linear(module: nn.Linear, get: Lookup, args: tuple[Any, ...]) -> Call:
    return "linear", (*args, get("weight"), get("bias")), {}


def _conv(module: Any, get: Lookup, args: tuple[Any, ...]) -> Call:
    name = "conv_transpose2d" if module.transposed else "conv2d"  # one rule serves any number of space dims
    return name, (args[0], get("weight"), get("bias")), {"groups": module.groups}


def _batch_norm(module: Any, get: Lookup, args: tuple[Any, ...]) -> Call:
    return "batch_norm", (*args, get("running_mean"), get("running_var"), get("weight"), get("bias")), {}


def _instance_norm(module: Any, get: Lookup, args: tuple[Any, ...]) -> Call:
    return "instance_norm", (*args, get("running_mean"), get("running_var"), get("weight"), get("bias")), {}


def _layer_norm(module: nn.LayerNorm, get: Lookup, args: tuple[Any, ...]) -> Call:
    return "layer_norm", (*args, module.normalized_shape, get("weight"), get("bias")), {}


def _rms_norm(module: nn.RMSNorm, get: Lookup, args: tuple[Any, ...]) -> Call:
    return "rms_norm", (*args, module.normalized_shape, get("weight")), {}


def _group_norm(module: nn.GroupNorm, get: Lookup, args: tuple[Any, ...]) -> Call:
    return "group_norm", (*args, module.num_groups, get("weight"), get("bias")), {}


def _embedding(module: nn.Embedding, get: Lookup, args: tuple[Any, ...]) -> Call:
    return "embedding", (*args, get("weight")), {}


def _prelu(module: nn.PReLU, get: Lookup, args: tuple[Any, ...]) -> Call:
    return "prelu", (*args, get("weight")), {}


def _flatten(module: Any, get: Lookup, args: tuple[Any, ...]) -> Call:
    return "flatten", args, {}


def _along(name: str) -> Statement:
    def state(module: Any, get: Lookup, args: tuple[Any, ...]) -> Call:
        return name, (*args, module.dim), {}

    return state


def _pixels(name: str, attribute: str) -> Statement:
    def state(module: Any, get: Lookup, args: tuple[Any, ...]) -> Call:
        return name, (*args, getattr(module, attribute)), {}

    return state


def _pointwise(module: Any, get: Lookup, args: tuple[Any, ...]) -> Call:
    return "relu", args, {}  # one rule serves all that work element by element


def _pool(module: Any, get: Lookup, args: tuple[Any, ...]) -> Call:
    return "max_pool2d", args, {}  # one rule serves all pooling


def _local_response_norm(module: nn.LocalResponseNorm, get: Lookup, args: tuple[Any, ...]) -> Call:
    return "local_response_norm", args, {}


def _same(module: Any, get: Lookup, args: tuple[Any, ...]) -> Call:
    return "identity", args, {}


def _zero_pad(module: Any, get: Lookup, args: tuple[Any, ...]) -> Call:
    return "pad", (*args, list(module.padding)), {}


def _reflect_pad(module: Any, get: Lookup, args: tuple[Any, ...]) -> Call:
    return "pad", (*args, list(module.padding), "reflect"), {}


_POINTWISE_LAYERS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh,
    nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardshrink, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanhshrink,
    nn.LogSigmoid, nn.Threshold, nn.RReLU, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)  # fmt: skip
_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.LPPool1d, nn.LPPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d, nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d,
)  # fmt: skip

STATEMENTS: dict[type[nn.Module], Statement] = {
    nn.Linear: _linear,
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _conv),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _conv),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm), _batch_norm),
    **dict.fromkeys((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), _instance_norm),
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
    nn.GroupNorm: _group_norm,
    nn.Embedding: _embedding,
    nn.PReLU: _prelu,
    nn.Flatten: _flatten,
    nn.Unflatten: _flatten,
    nn.Softmax: _along("softmax"),
    nn.LogSoftmax: _along("log_softmax"),
    nn.GLU: _along("glu"),
    nn.PixelShuffle: _pixels("pixel_shuffle", "upscale_factor"),
    nn.PixelUnshuffle: _pixels("pixel_unshuffle", "downscale_factor"),
    nn.ChannelShuffle: _pixels("channel_shuffle", "groups"),
    nn.LocalResponseNorm: _local_response_norm,
    nn.Identity: _same,
    **dict.fromkeys((nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d), _zero_pad),
    **dict.fromkeys((nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReplicationPad2d), _reflect_pad),
    **dict.fromkeys(_POINTWISE_LAYERS, _pointwise),
    **dict.fromkeys(_POOLS, _pool),
}


def statement_of(module: nn.Module) -> Statement | None:
    """Return how a layer is stated as an operator, looking up its exact type and then its torch base classes.

    A subclass that overrides ``forward`` is another operator; it is traced through instead.
    """
    for base in type(module).__mro__:
        if base in STATEMENTS:
            same = type(module).forward is base.forward and not torch.nn.utils.parametrize.is_parametrized(module)
            same = same and (not isinstance(module, nn.modules.conv._ConvNd) or _same_kernel(module))
            return STATEMENTS[base] if same else None
    return None


def _same_kernel(module: nn.modules.conv._ConvNd) -> bool:
    own = getattr(type(module), "_conv_forward", None)
    return own is None or own.__module__ == nn.Conv2d.__module__


def is_leaf(module: nn.Module) -> bool:
    """Whether the tracer keeps a module as one node."""
    return statement_of(module) is not None
