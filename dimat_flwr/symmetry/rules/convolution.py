"""Convolutions: plain, transposed, depthwise and grouped."""

from typing import Any

import numpy as np

from dimat_flwr.symmetry.constraints.join import Operand, as_value, elementwise, roles_along, tie_along
from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.constraints.param import Param
from dimat_flwr.symmetry.constraints.value import Shape, Value
from dimat_flwr.symmetry.rules.context import Context
from dimat_flwr.symmetry.rules.linear import read_axis
from dimat_flwr.symmetry.rules.registry import UnsupportedError, rule
from dimat_flwr.symmetry.rules.shaping import along_channels


@rule("conv1d", "conv2d", "conv3d", kind="mixes")
def conv(
    ctx: Context, x: Operand, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Value:  # fmt: skip
    """Weight of shape (out, in / groups, ...)."""
    return _convolve(ctx, x, weight, bias, groups, transposed=False)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", kind="mixes")
def conv_transpose(
    ctx: Context, x: Operand, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Value:  # fmt: skip
    """Weight of shape (in, out / groups, ...)."""
    return _convolve(ctx, x, weight, bias, groups, transposed=True)


@rule("convolution", kind="mixes")
def convolution(
    ctx: Context, x: Operand, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int,
) -> Value:  # fmt: skip
    """The operator behind all of them."""
    return _convolve(ctx, x, weight, bias, groups, transposed=transposed)


def _convolve(ctx: Context, x: Operand, weight: Any, bias: Any, groups: int, *, transposed: bool) -> Value:
    if not isinstance(weight, Param) or not weight.is_whole:
        raise UnsupportedError("a convolution whose weight is computed")
    ledger = ctx.ledger
    value = as_value(x, ledger)
    if len(value.shape) != len(weight.shape):
        raise UnsupportedError("a convolution without a batch dim")
    if value.varying - {1}:  # a filter looks the same everywhere: nothing may move along space
        value = tie_along(value, value.varying - {1}, ledger)
    if groups == 1:
        result = _dense(value, weight.name, ctx.shape, ledger, transposed=transposed)
    elif groups == value.shape[1] == ctx.shape[1]:
        result = _depthwise(value, weight.name, ctx.shape, ledger)
    else:
        result = _grouped(value, weight.name, groups, ctx.shape, ledger, transposed=transposed)
    return result if bias is None else elementwise([result, along_channels(bias, len(ctx.shape), ledger)], ledger)


def _result(atoms: Any, shape: Shape, ledger: Ledger) -> Value:
    ones = [1] * len(shape)
    roles = ledger.refresh(np.zeros(ones, np.int64))
    ones[1] = -1
    return Value(shape, atoms.reshape(ones), roles, tuple(size > 1 for size in shape))


def _dense(value: Value, name: str, shape: Shape, ledger: Ledger, *, transposed: bool) -> Value:
    read, write = (0, 1) if transposed else (1, 0)
    record = ledger.axis(name, read)
    read_axis(value, 1, record, np.arange(len(record.atoms), dtype=np.int64), ledger)
    return _result(ledger.axis(name, write).atoms, shape, ledger)


def _depthwise(value: Value, name: str, shape: Shape, ledger: Ledger) -> Value:
    """One filter per channel: input, output and filter move together."""
    record = ledger.axis(name, 0)
    read_axis(value, 1, record, np.arange(len(record.atoms), dtype=np.int64), ledger)
    return _result(record.atoms, shape, ledger)


def _grouped(value: Value, name: str, groups: int, shape: Shape, ledger: Ledger, *, transposed: bool) -> Value:
    """The groups are blocks of input and output channels: whole blocks move, and channels within their block."""
    rows, columns = ledger.axis(name, 0), ledger.axis(name, 1, groups)
    read, write = (rows, columns) if transposed else (columns, rows)
    read_axis(value, 1, read, np.arange(len(read.atoms), dtype=np.int64), ledger)
    blocks = ledger.atoms.new((groups, 1))
    for record in (read, write):
        ledger.put_in_blocks("groups", record.atoms.reshape(groups, -1), blocks, np.zeros((1, 1), np.int64))
    ledger.observe(Value((groups,), blocks.reshape(-1), roles_along(value, 1, ledger)[:1], (True,)))
    return _result(write.atoms, shape, ledger)
