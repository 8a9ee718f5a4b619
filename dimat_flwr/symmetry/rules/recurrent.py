"""Recurrent layers: all gates of a layer share one permutation of its units, and so does the state they pass on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dimat_flwr.symmetry.constraints.atoms import Ints
from dimat_flwr.symmetry.constraints.join import as_value
from dimat_flwr.symmetry.constraints.moves import take
from dimat_flwr.symmetry.constraints.param import Param
from dimat_flwr.symmetry.constraints.value import Shape, Value
from dimat_flwr.symmetry.rules.context import Context
from dimat_flwr.symmetry.rules.linear import read_axis
from dimat_flwr.symmetry.rules.registry import UnsupportedError, rule


def _along_last(atoms: Ints, shape: Shape, ctx: Context) -> Value:
    """Return a value of a shape with these atoms along its last dim."""
    lead = (1,) * (len(shape) - 1)
    roles = ctx.ledger.refresh(np.zeros((*lead, 1), np.int64))
    return Value(shape, atoms.reshape((*lead, -1)), roles, tuple(size > 1 for size in shape))


def _cell(ctx: Context, x: Any, weights: Sequence[Any]) -> tuple[Ints, Ints]:
    """Write down one layer in one direction; return the atoms of its output's and of its cell's units.

    ``weights``: (gates * units, inputs), (gates * units, outputs), biases of (gates * units,) if any, and the
    projection (outputs, units) if any.
    """
    if not all(isinstance(w, Param) and w.is_whole for w in weights):
        raise UnsupportedError("a recurrent layer whose weights are computed")
    ledger = ctx.ledger
    by_input, by_state, *rest = weights
    projection = next((w for w in rest if len(w.shape) == 2), None)
    units = by_state.shape[1] if projection is None else projection.shape[1]
    gates = by_input.shape[0] // units
    value = as_value(x, ledger)
    last = len(value.shape) - 1
    read_axis(value, last, ledger.axis(by_input.name, 1), np.arange(by_input.shape[1], dtype=np.int64), ledger)
    cell = ledger.atoms.new((units,))
    rows = np.arange(gates * units, dtype=np.int64)
    for weight in (by_input, by_state, *(w for w in rest if len(w.shape) == 1)):
        ledger.tie_axis(ledger.axis(weight.name, 0), rows, np.tile(cell, gates), rows // units)
    output = cell
    if projection is not None:
        columns = np.arange(units, dtype=np.int64)
        ledger.tie_axis(ledger.axis(projection.name, 1), columns, cell, np.zeros_like(columns))
        output = ledger.axis(projection.name, 0).atoms
    places = np.arange(len(output), dtype=np.int64)
    ledger.tie_axis(ledger.axis(by_state.name, 1), places, output, np.zeros_like(places))
    return output, cell


def _start(ctx: Context, state: Any, number: int, atoms: Ints) -> None:
    """Tie a layer's units to those of the state it starts from (layers, batch, units)."""
    if state is not None:
        part = as_value(take(as_value(state, ctx.ledger), 0, np.array([number], np.int64), ctx.ledger), ctx.ledger)
        ctx.like(part, _along_last(atoms, part.shape, ctx))


def _stacked(ctx: Context, rows: list[Ints], shape: Shape) -> Value:
    """Return a final state (layers, ..., units)."""
    atoms = np.stack(rows).reshape(len(rows), *(1,) * (len(shape) - 2), -1)
    roles = ctx.ledger.refresh(np.zeros((1,) * len(shape), np.int64))
    return Value(shape, atoms, roles, tuple(size > 1 for size in shape))


def _layers(
    ctx: Context, x: Any, states: Sequence[Any], params: Sequence[Any], has_biases: bool, num_layers: int,
    bidirectional: bool, output_size: Shape,
) -> tuple[Value, list[Ints], list[Ints]]:  # fmt: skip
    """Return the last layer's output, and of every layer and direction the units of its output and of its cell."""
    ctx.reads(x, *states, *params)
    directions = 2 if bidirectional else 1
    each = len(params) // (num_layers * directions)
    outputs: list[Ints] = []
    cells: list[Ints] = []
    value: Any = x
    for layer in range(num_layers):
        for _ in range(directions):
            number = len(outputs)
            output, cell = _cell(ctx, value, params[number * each : (number + 1) * each])
            for state, atoms in zip(states, (output, cell), strict=False):
                _start(ctx, state, number, atoms)
            outputs.append(output)
            cells.append(cell)
        joined = np.concatenate(outputs[layer * directions :])
        value = _along_last(joined, (*output_size[:-1], len(joined)), ctx)
    return value, outputs, cells


@rule("lstm", kind="mixes", training=6)
def lstm(
    ctx: Context, x: Any, states: Any, params: Sequence[Any], has_biases: bool, num_layers: int, dropout: float,
    train: bool, bidirectional: bool, batch_first: bool = False,
) -> Any:  # fmt: skip
    """Four gates."""
    nested = isinstance(ctx.sizes[1], list)  # the layer returns (output, (h, c)), the operator (output, h, c)
    sizes = [ctx.sizes[0], *ctx.sizes[1]] if nested else ctx.sizes
    output, hidden, cells = _layers(ctx, x, states or (), params, has_biases, num_layers, bidirectional, sizes[0])
    h, c = _stacked(ctx, hidden, sizes[1]), _stacked(ctx, cells, sizes[2])
    return (output, (h, c)) if nested else (output, h, c)


@rule("gru", "rnn_tanh", "rnn_relu", kind="mixes", training=6)
def gru(
    ctx: Context, x: Any, state: Any, params: Sequence[Any], has_biases: bool, num_layers: int, dropout: float,
    train: bool, bidirectional: bool, batch_first: bool = False,
) -> Any:  # fmt: skip
    """Three gates, or one."""
    states = () if state is None else (state,)
    output, hidden, _ = _layers(ctx, x, states, params, has_biases, num_layers, bidirectional, ctx.sizes[0])
    return output, _stacked(ctx, hidden, ctx.sizes[1])


@rule("lstm_cell", kind="mixes")
def lstm_cell(ctx: Context, x: Any, states: Any, *params: Any) -> Any:
    """One step: (h, c)."""
    ctx.reads(x, *(states or ()), *params)
    output, cell = _cell(ctx, x, [p for p in params if p is not None])
    shapes = ctx.sizes
    h, c = (_along_last(atoms, shape, ctx) for atoms, shape in zip((output, cell), shapes, strict=True))
    for state, new in zip(states or (), (h, c), strict=False):
        ctx.like(state, new)
    return h, c


@rule("gru_cell", "rnn_tanh_cell", "rnn_relu_cell", kind="mixes")
def gru_cell(ctx: Context, x: Any, state: Any, *params: Any) -> Value:
    """One step."""
    ctx.reads(x, *params)
    output, _ = _cell(ctx, x, [p for p in params if p is not None])
    h = _along_last(output, ctx.shape, ctx)
    return h if state is None else ctx.like(h, state)
