"""``nn.MultiheadAttention`` written out in plain operators, so that its heads are visible in the traced graph."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn import functional as F

from dimat_flwr.symmetry.tracing.modules import computes_like


def can_expand(module: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether ``expand`` covers this module and call."""
    named = dict(zip(("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask"), args, strict=False))
    named.update(kwargs)
    if not computes_like(module, nn.MultiheadAttention):
        return False
    plain = module.bias_k is None and module.bias_v is None and not module.add_zero_attn
    unmasked = named.get("key_padding_mask") is None and named.get("attn_mask") is None
    return (
        plain and unmasked and not named.get("is_causal", False) and isinstance(named.get("need_weights", True), bool)
    )


def expand(
    module: nn.MultiheadAttention,
    parameter: Callable[[str], Any],
    query: Any,
    key: Any,
    value: Any,
    key_padding_mask: None = None,
    need_weights: bool = True,
    attn_mask: None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Any, Any]:
    """Emit the operators of the module's forward pass for batched inputs, all of them proxies of the graph.

    Args:
        module: where the settings are read.
        parameter: gives the graph's proxy of one of the module's parameters.
        query: (batch, tokens, embed) if ``module.batch_first``, else (tokens, batch, embed); key and value likewise.
        key: as query.
        value: as query.
        key_padding_mask: not covered.
        need_weights: also return the attention weights.
        attn_mask: not covered: boolean masks mean the opposite in the operator.
        average_attn_weights: return the weights' mean over heads.
        is_causal: not covered.

    Returns:
        What the module returns: (output, attention weights or None).
    """
    embed, heads = module.embed_dim, module.num_heads
    own = query is key and key is value
    if not module.batch_first:
        query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    bias = None if module.in_proj_bias is None else parameter("in_proj_bias")
    projected: Any
    if own and module._qkv_same_embed_dim:  # one product instead of three, and the weight stays in one piece
        projected = F.linear(query, parameter("in_proj_weight"), bias).chunk(3, -1)
    else:
        if module._qkv_same_embed_dim:
            packed = parameter("in_proj_weight")
            weights = [packed[i * embed : (i + 1) * embed] for i in range(3)]
        else:
            weights = [parameter(name) for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight")]
        parts = [None if bias is None else bias[i * embed : (i + 1) * embed] for i in range(3)]
        projected = [F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, parts, strict=True)]
    q, k, v = (projected[i].unflatten(-1, (heads, module.head_dim)).transpose(1, 2) for i in range(3))
    attention: Any = None
    if need_weights:
        attention = (q * module.head_dim**-0.5).matmul(k.transpose(-2, -1)).softmax(-1)
        mixed = F.dropout(attention, module.dropout, False).matmul(v)
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, None, module.dropout)
    out_bias = None if module.out_proj.bias is None else parameter("out_proj.bias")
    output = F.linear(mixed.transpose(1, 2).flatten(2), parameter("out_proj.weight"), out_bias)
    if not module.batch_first:
        output = output.transpose(0, 1)
    if attention is not None and average_attn_weights:
        attention = attention.mean(1)
    return output, attention
