"""Matrix products: weights tie their axes to what they read and write; activations are contracted with each other."""

from typing import Any

import numpy as np

from dimat_flwr.symmetry.constraints import moves
from dimat_flwr.symmetry.constraints.atoms import Ints
from dimat_flwr.symmetry.constraints.contraction import contract
from dimat_flwr.symmetry.constraints.join import Operand, as_value, elementwise, roles_along, tie_along
from dimat_flwr.symmetry.constraints.ledger import AxisRecord, Ledger
from dimat_flwr.symmetry.constraints.param import Param
from dimat_flwr.symmetry.constraints.value import Shape, Value
from dimat_flwr.symmetry.rules.context import Context
from dimat_flwr.symmetry.rules.registry import UnsupportedError, rule

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def read_axis(x: Value, dim: int, record: AxisRecord, index: Ints, ledger: Ledger) -> Value:
    """Tie a weight's input axis to what lies along ``dim`` of ``x``; return ``x`` with one order along that dim."""
    x = ledger.settle(x)
    if dim in x.varying:  # one weight serves all other places: the order along dim is the same everywhere
        x = tie_along(x, x.varying - {dim}, ledger)
    others = tuple(0 if d != dim else slice(None) for d in range(len(x.shape)))
    atoms = np.broadcast_to(x.atoms[others], index.shape) if dim in x.varying else _still(x, dim, index, ledger)
    ledger.tie_axis(record, index, atoms, roles_along(x, dim, ledger))
    return x


def _still(x: Value, dim: int, index: Ints, ledger: Ledger) -> Ints:
    """Return atoms for an axis that reads places that do not move along it: each keeps its place."""
    if x.atoms.size == 1:
        return np.full(index.shape, int(x.atoms.flat[0]), np.int64)
    return np.zeros(index.shape, np.int64)


def write_axis(x: Value, dim: int, record: AxisRecord, index: Ints, shape: Shape, ledger: Ledger) -> Value:
    """Return the result of a weight whose output axis lies along ``dim`` of ``shape``.

    ``x`` has been read by ``read_axis``. If it still moves along other dims (tokens mixed by the weight while the
    channels move), the result moves along those, and the output axis stays.
    """
    ones = [1] * len(shape)
    if x.varying - {dim}:
        ledger.fix(record.atoms[index])
        atoms = x.atoms.reshape([1 if d == dim else s for d, s in enumerate(_fit(x.atoms, len(shape)).shape)])
        ledger.warn(f"{ledger.operator}: '{record.tensor}' reads values whose other axes move; its outputs stay")
    else:
        ones[dim] = len(index)
        atoms = record.atoms[index].reshape(ones)
    kept = ledger.collapse_roles(x.roles, frozenset({dim}))
    roles = _fit(kept, len(shape)) if x.varying - {dim} else np.zeros((1,) * len(shape), np.int64)
    return Value(shape, atoms, ledger.refresh(roles), tuple(size > 1 for size in shape))


def _fit(array: Ints, rank: int) -> Ints:
    if array.ndim != rank:
        raise UnsupportedError("a product that changes the number of dims")
    return array


@rule("linear", kind="mixes")
def linear(ctx: Context, x: Operand, weight: Operand, bias: Operand | None = None) -> Value:
    """X @ weight.T + bias, weight of shape (out, in)."""
    value = as_value(x, ctx.ledger)
    plain = isinstance(weight, Param) and len(weight.shape) == 2
    write, read = (weight.axis_of(0), weight.axis_of(1)) if isinstance(weight, Param) and plain else (None, None)
    if not isinstance(weight, Param) or write is None or read is None:
        result = _generic_linear(value, weight, ctx.ledger)
    else:
        (out_axis, out_index), (in_axis, in_index) = write, read
        last = len(value.shape) - 1
        value = read_axis(value, last, ctx.ledger.axis(weight.name, in_axis), in_index, ctx.ledger)
        record = ctx.ledger.axis(weight.name, out_axis)
        shape = (*value.shape[:-1], weight.shape[0])
        result = write_axis(value, last, record, out_index, shape, ctx.ledger)
    if bias is None:
        return result
    if result.varying and len(result.shape) - 1 not in result.varying:  # the outputs stay, while other dims move
        ctx.ledger.fix(as_value(bias, ctx.ledger).atoms)
    return elementwise([result, bias], ctx.ledger)


def _generic_linear(x: Value, weight: Operand, ledger: Ledger) -> Value:
    """A weight that is computed: contracted like any other value."""
    w = as_value(weight, ledger)
    lead = _LETTERS[: len(x.shape) - 1]
    if len(w.shape) != 2:
        raise UnsupportedError("a weight that is no matrix")
    return contract(x, w, (lead + "y", "zy", lead + "z"), ledger)


@rule("matmul", "bmm", "mm", "mv", "dot", kind="mixes")
def matmul(ctx: Context, x: Operand, y: Operand) -> Value:
    """Matrix product with broadcast batch dims; a parameter on the right (or left) is a weight."""
    if isinstance(y, Param) and len(y.shape) == 2:
        transposed = moves.permute(y, (1, 0), ctx.ledger)
        return linear(ctx, x, transposed)
    if isinstance(x, Param) and len(x.shape) == 2 and isinstance(y, Value) and len(y.shape) == 2:
        swapped = as_value(moves.permute(y, (1, 0), ctx.ledger), ctx.ledger)
        result = moves.permute(linear(ctx, swapped, x), (1, 0), ctx.ledger)
        return as_value(result, ctx.ledger)
    if isinstance(y, Param) and len(y.shape) == 3 and not isinstance(x, Param) and len(x.shape) == 3:
        return by_experts(ctx, x, y)
    a, b = as_value(x, ctx.ledger), as_value(y, ctx.ledger)
    if len(a.shape) == 1:
        a = as_value(moves.reshape(a, (1, *a.shape), ctx.ledger), ctx.ledger)
    if len(b.shape) == 1:
        b = as_value(moves.reshape(b, (*b.shape, 1), ctx.ledger), ctx.ledger)
    batch = _LETTERS[: max(len(a.shape), len(b.shape)) - 2]
    left = batch[len(batch) - len(a.shape) + 2 :] + "xy"
    right = batch[len(batch) - len(b.shape) + 2 :] + "yz"
    result = contract(a, b, (left, right, batch + "xz"), ctx.ledger)
    return as_value(moves.reshape(result, ctx.shape, ctx.ledger), ctx.ledger)


def by_experts(ctx: Context, x: Operand, weight: Param) -> Value:
    """Return x (..., tokens, in) times a stack of weights (experts, in, out), each expert's tokens by its own weight.

    All experts' units are permuted alike: one order for what all of them read, and one for what they write.
    """
    read, write = weight.axis_of(1), weight.axis_of(2)
    if read is None or write is None:
        raise UnsupportedError("a stack of weights that is cut or regrouped")
    value = as_value(x, ctx.ledger)
    last = len(value.shape) - 1
    value = read_axis(value, last, ctx.ledger.axis(weight.name, read[0]), read[1], ctx.ledger)
    record = ctx.ledger.axis(weight.name, write[0])
    return write_axis(value, last, record, write[1], (*value.shape[:-1], weight.shape[2]), ctx.ledger)


@rule("_grouped_mm", "transformers::grouped_mm_fallback", kind="mixes")
def grouped(ctx: Context, x: Operand, weight: Operand, offs: Any = None, *args: Any, **kwargs: Any) -> Value:
    """Tokens (tokens, in), sorted by expert, times a stack of weights (experts, in, out)."""
    if not isinstance(weight, Param) or len(weight.shape) != 3 or len(x.shape) != 2:
        raise UnsupportedError("a grouped product other than of tokens with a stack of weights")
    return by_experts(ctx, x, weight)


@rule("baddbmm", kind="mixes")
def baddbmm(ctx: Context, bias: Operand, x: Operand, y: Operand, *, beta: Any = 1, alpha: Any = 1) -> Value:
    """Bias + x @ y."""
    return elementwise([matmul(ctx, x, y), bias], ctx.ledger)


@rule("addmm", kind="mixes")
def addmm(ctx: Context, bias: Operand, x: Operand, y: Operand, *, beta: Any = 1, alpha: Any = 1) -> Value:
    """Bias + x @ y."""
    return elementwise([matmul(ctx, x, y), bias], ctx.ledger)


@rule("einsum", kind="mixes")
def einsum(ctx: Context, equation: str, *operands: Any, **kwargs: Any) -> Value:
    """An einsum of two operands in which every summed letter is in both."""
    listed = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    inputs, _, out = equation.replace(" ", "").partition("->")
    letters = inputs.split(",")
    summed = [c for c in set("".join(letters)) if c not in out]
    simple = len(listed) == 2 and "." not in equation and "->" in equation
    if not simple or any(len(set(part)) < len(part) for part in (*letters, out)):
        raise UnsupportedError("an einsum other than of two operands with plain, distinct letters")
    if any(c not in letters[0] or c not in letters[1] for c in summed):
        raise UnsupportedError("an einsum that sums a letter of one operand alone")
    a, b = listed
    if isinstance(b, Param) and len(b.shape) == 2 and len(summed) == 1 and letters[0][-1] == summed[0]:
        weight = b if letters[1][1] == summed[0] else moves.permute(b, (1, 0), ctx.ledger)
        if out == letters[0][:-1] + letters[1].replace(summed[0], ""):
            return linear(ctx, a, weight)
    return contract(as_value(a, ctx.ledger), as_value(b, ctx.ledger), (letters[0], letters[1], out), ctx.ledger)


@rule("embedding", kind="mixes")
def embedding(ctx: Context, x: Any, weight: Any, *args: Any, **kwargs: Any) -> Value:
    """Rows of the weight (entries, features): the features move, the entries stay."""
    if not isinstance(weight, Param) and isinstance(x, Param):  # the operator has the weight first
        x, weight = weight, x
    if not isinstance(weight, Param) or isinstance(x, Param) or (isinstance(x, Value) and x.varying):
        raise UnsupportedError("an embedding other than by a parameter and an index that does not move")
    ctx.reads(x)
    result = ctx.fresh_axis(weight, 1, dim=len(ctx.shape) - 1)
    entries = weight.axis_of(0)
    if entries is not None:
        ctx.ledger.fix(ctx.ledger.axis(weight.name, entries[0]).atoms[entries[1]])
    return result
