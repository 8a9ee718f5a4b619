"""Scaled dot-product attention: heads are blocks; queries move with keys, values on their own."""

from typing import Any

import numpy as np

from dimat_flwr.symmetry.constraints import moves
from dimat_flwr.symmetry.constraints.contraction import contract
from dimat_flwr.symmetry.constraints.join import as_value, elementwise
from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.constraints.value import Value
from dimat_flwr.symmetry.rules.context import Context
from dimat_flwr.symmetry.rules.reductions import scaled_along
from dimat_flwr.symmetry.rules.registry import rule


@rule("scaled_dot_product_attention", "_scaled_dot_product_attention", kind="mixes")
def attention(
    ctx: Context, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, *, scale: Any = None, enable_gqa: bool = False,
) -> Value:  # fmt: skip
    """softmax(query @ key.T + mask) @ value, over (..., tokens, features)."""
    ledger = ctx.ledger
    q, k, v = (as_value(x, ledger) for x in (query, key, value))
    if enable_gqa:
        k, v = (_repeated(x, q.shape[-3], ledger) for x in (k, v))
    batch = "abcdefgh"[: len(q.shape) - 2]
    scores = contract(q, k, (batch + "ny", batch + "my", batch + "nm"), ledger)
    if attn_mask is not None:
        scores = elementwise([scores, attn_mask], ledger)
    weights = scaled_along(scores, frozenset({len(scores.shape) - 1}), "blocks", ledger)
    return contract(weights, v, (batch + "nm", batch + "mz", batch + "nz"), ledger)


def _repeated(x: Value, heads: int, ledger: Ledger) -> Value:
    dim = len(x.shape) - 3
    index = np.repeat(np.arange(x.shape[dim], dtype=np.int64), heads // x.shape[dim])
    return as_value(moves.take(x, dim, index, ledger), ledger)
