"""``nn.MultiheadAttention`` written out in plain operators, so that its heads are visible in the traced graph."""

from collections.abc import Callable
from typing import Any

from torch import fx, nn
from torch.nn import functional as F


def can_expand(module: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether ``expand`` covers this module and call."""
    named = dict(zip(("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask"), args, strict=False))
    named.update(kwargs)
    plain = module.bias_k is None and module.bias_v is None and not module.add_zero_attn
    masks = named.get("key_padding_mask") is None and not named.get("is_causal", False)
    return plain and masks and isinstance(named.get("need_weights", True), bool)


def expand(
    module: nn.MultiheadAttention,
    parameter: Callable[[str], fx.Proxy],
    query: fx.Proxy,
    key: fx.Proxy,
    value: fx.Proxy,
    key_padding_mask: None = None,
    need_weights: bool = True,
    attn_mask: fx.Proxy | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[fx.Proxy, fx.Proxy | None]:
    """Emit the operators of the module's forward pass for batched inputs.

    Args:
        module: where the settings are read.
        parameter: gives the graph's proxy of one of the module's parameters.
        query: (batch, tokens, embed) if ``module.batch_first``, else (tokens, batch, embed); key and value likewise.
        key: as query.
        value: as query.
        key_padding_mask: not covered.
        need_weights: also return the attention weights.
        attn_mask: additive mask broadcastable to (tokens, tokens), or (batch * heads, tokens, tokens).
        average_attn_weights: return the weights' mean over heads.
        is_causal: not covered.

    Returns:
        What the module returns.
    """
    embed, heads = module.embed_dim, module.num_heads
    if not module.batch_first:
        query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    bias = None if module.in_proj_bias is None else parameter("in_proj_bias")
    if module._qkv_same_embed_dim:
        packed = parameter("in_proj_weight")
        weights = [packed[i * embed : (i + 1) * embed] for i in range(3)]
    else:
        weights = [parameter(name) for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight")]
    split = []
    for i, (x, weight) in enumerate(zip((query, key, value), weights, strict=True)):
        part = None if bias is None else bias[i * embed : (i + 1) * embed]
        projected = F.linear(x, weight, part)  # type: ignore[arg-type]
        split.append(projected.unflatten(-1, (heads, module.head_dim)).transpose(1, 2))
    q, k, v = split
    if attn_mask is not None:
        per_head = attn_mask.view(-1, heads, attn_mask.shape[-2], attn_mask.shape[-1])
        attn_mask = per_head if attn_mask.dim() == 3 else attn_mask  # type: ignore[operator]
    attention = None
    if need_weights:
        scores = (q * module.head_dim**-0.5).matmul(k.transpose(-2, -1))
        scores = scores if attn_mask is None else scores + attn_mask
        attention = scores.softmax(-1)
        mixed = F.dropout(attention, module.dropout, False).matmul(v)  # type: ignore[arg-type]
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask, module.dropout)  # type: ignore[arg-type]
    out_bias = None if module.out_proj.bias is None else parameter("out_proj.bias")
    output = F.linear(mixed.transpose(1, 2).flatten(2), parameter("out_proj.weight"), out_bias)  # type: ignore
    if not module.batch_first:
        output = output.transpose(0, 1)
    if attention is not None and average_attn_weights:
        attention = attention.mean(1)
    return output, attention  # type: ignore[return-value]
