"""Layers that are kept whole in the traced graph, each stated as the operator it is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

Lookup = Callable[[str], Any]  # name within the module -> Param, buffer or None
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Statement = Callable[[Any, Lookup, tuple[Any, ...]], Arguments]
_STATISTICS = ("running_mean", "running_var", "weight", "bias")


class Layer(NamedTuple):
    """How a kind of layer is stated.

    Attributes:
        operator: whose rule serves it.
        arguments: (module, lookup of its tensors, what it is called with) -> the operator's arguments.
    """

    operator: str
    arguments: Statement


def _with_tensors(*names: str, setting: str = "") -> Statement:
    """State a layer by its input, a setting of it, and its tensors in the operator's order."""

    def state(module: Any, get: Lookup, args: tuple[Any, ...]) -> Arguments:
        return (*args, *([getattr(module, setting)] if setting else []), *map(get, names)), {}

    return state


def _conv(module: Any, get: Lookup, args: tuple[Any, ...]) -> Arguments:
    return (args[0], get("weight"), get("bias")), {"groups": module.groups}


def _instance_norm(module: Any, get: Lookup, args: tuple[Any, ...]) -> Arguments:
    space = next(d for d in (1, 2, 3) if isinstance(module, getattr(nn, f"InstanceNorm{d}d")))
    return (args[0], *map(get, _STATISTICS)), {"space": space}


def _zero_pad(module: Any, get: Lookup, args: tuple[Any, ...]) -> Arguments:
    return (*args, list(module.padding)), {}


def _reflect_pad(module: Any, get: Lookup, args: tuple[Any, ...]) -> Arguments:
    return (*args, list(module.padding), "reflect"), {}


def _recurrent(module: Any, get: Lookup, args: tuple[Any, ...]) -> Arguments:
    x, state = args[0], args[1] if len(args) > 1 else None
    params = [get(name) for name in module._flat_weights_names]
    settings = (module.bias, module.num_layers, module.dropout, False, module.bidirectional, module.batch_first)
    return (x, state, params, *settings), {}


def _recurrent_cell(module: Any, get: Lookup, args: tuple[Any, ...]) -> Arguments:
    state = args[1] if len(args) > 1 else None
    return (args[0], state, *map(get, ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))), {}


_input = _with_tensors()

_POINTWISE_LAYERS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh,
    nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardshrink, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanhshrink,
    nn.LogSigmoid, nn.Threshold, nn.RReLU,
)  # fmt: skip
_DROPOUT_LAYERS = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
)  # fmt: skip
_POOLS = ("MaxPool", "AvgPool", "LPPool", "AdaptiveAvgPool", "AdaptiveMaxPool")
_POOL_OPERATORS = ("max_pool", "avg_pool", "lp_pool", "adaptive_avg_pool", "adaptive_max_pool")


def _pools() -> dict[type[nn.Module], Layer]:
    pairs = zip(_POOLS, _POOL_OPERATORS, strict=True)
    return {getattr(nn, f"{kind}{d}d"): Layer(f"{name}{d}d", _input) for kind, name in pairs for d in (1, 2, 3)}


LAYERS: dict[type[nn.Module], Layer] = {
    nn.Linear: Layer("linear", _with_tensors("weight", "bias")),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), Layer("conv2d", _conv)),  # one rule for any number of dims
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), Layer("conv_transpose2d", _conv)),
    **dict.fromkeys(
        (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
        Layer("batch_norm", _with_tensors(*_STATISTICS)),
    ),
    **dict.fromkeys((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), Layer("instance_norm", _instance_norm)),
    nn.LayerNorm: Layer("layer_norm", _with_tensors("weight", "bias", setting="normalized_shape")),
    nn.RMSNorm: Layer("rms_norm", _with_tensors("weight", setting="normalized_shape")),
    nn.GroupNorm: Layer("group_norm", _with_tensors("weight", "bias", setting="num_groups")),
    nn.LSTM: Layer("lstm", _recurrent),
    **dict.fromkeys((nn.GRU, nn.RNN), Layer("gru", _recurrent)),
    nn.LSTMCell: Layer("lstm_cell", _recurrent_cell),
    **dict.fromkeys((nn.GRUCell, nn.RNNCell), Layer("gru_cell", _recurrent_cell)),
    nn.Embedding: Layer("embedding", _with_tensors("weight")),
    nn.PReLU: Layer("prelu", _with_tensors("weight")),
    nn.Flatten: Layer("flatten", _input),
    nn.Unflatten: Layer("flatten", _input),
    nn.Softmax: Layer("softmax", _with_tensors(setting="dim")),
    nn.LogSoftmax: Layer("log_softmax", _with_tensors(setting="dim")),
    nn.GLU: Layer("glu", _with_tensors(setting="dim")),
    nn.PixelShuffle: Layer("pixel_shuffle", _with_tensors(setting="upscale_factor")),
    nn.PixelUnshuffle: Layer("pixel_unshuffle", _with_tensors(setting="downscale_factor")),
    nn.ChannelShuffle: Layer("channel_shuffle", _with_tensors(setting="groups")),
    nn.LocalResponseNorm: Layer("local_response_norm", _input),
    nn.Identity: Layer("identity", _input),
    **dict.fromkeys(
        (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d), Layer("pad", _zero_pad)
    ),
    **dict.fromkeys((nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReplicationPad2d), Layer("pad", _reflect_pad)),
    **dict.fromkeys(_POINTWISE_LAYERS, Layer("relu", _input)),
    **dict.fromkeys(_DROPOUT_LAYERS, Layer("dropout", _input)),
    **dict.fromkeys((nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d), Layer("interpolate", _input)),
    **_pools(),
}


def layer_of(module: nn.Module) -> Layer | None:
    """Return how a layer is stated as an operator, looking up its exact type and then its torch base classes.

    A subclass, or a single module, with a ``forward`` of its own is another operator; it is traced through instead.
    """
    for base in type(module).__mro__:
        if base in LAYERS:
            return LAYERS[base] if computes_like(module, base) else None
    return None


def computes_like(module: nn.Module, base: type[nn.Module]) -> bool:
    """Whether nothing that a module's output depends on was replaced, in its class or in the module itself."""
    for name in ("forward", "__call__", "_call_impl", "_conv_forward", "forward_impl", "run_impl"):
        if name in vars(module) or getattr(type(module), name, None) is not getattr(base, name, None):
            return False
    return not torch.nn.utils.parametrize.is_parametrized(module)


def is_leaf(module: nn.Module) -> bool:
    """Whether the tracer keeps a module as one node."""
    return layer_of(module) is not None
