"""Attention, loops over time, index tricks, einsum, casts and complex numbers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.symmetry.adversarial.base import add, flat, tokens

# -- attention ---------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Two heads of four units each, (batch, tokens, 5) -> (batch, tokens, 3); ``variant`` changes one thing."""

    def __init__(self, variant: str):
        super().__init__()
        self.variant = variant
        self.inp, self.out = nn.Linear(5, 8), nn.Linear(8, 3)
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))
        self.few_k, self.few_v = nn.Linear(8, 4), nn.Linear(8, 4)
        self.norm, self.memory = nn.LayerNorm(4), nn.Parameter(torch.randn(2, 3, 4))
        self.between, self.bias = nn.Parameter(torch.randn(2, 2)), nn.Parameter(torch.randn(2, 6, 6))
        self.per_head = nn.Parameter(torch.randn(2, 1, 1))

    def _heads(self, x: Tensor) -> Tensor:
        if self.variant == "heads_inside":
            return x.unflatten(-1, (4, 2)).permute(0, 3, 1, 2)
        return x.unflatten(-1, (-1, 4)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.inp(x))
        q, k, v = (self._heads(layer(h)) for layer in (self.q, self.k, self.v))
        if self.variant == "one_key_for_all":
            k, v = self._heads(self.few_k(h)), self._heads(self.few_v(h))
        elif self.variant == "query_is_key":
            k = q
        elif self.variant == "normed_queries":
            q, k = self.norm(q), self.norm(k)
        elif self.variant == "cosine":
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        elif self.variant == "memory_tokens":
            k = torch.cat([k, self.memory.expand(len(x), -1, -1, -1)], 2)
            v = torch.cat([v, self.memory.expand(len(x), -1, -1, -1).tanh()], 2)
        elif self.variant == "rotated":
            q, k = (torch.cat([-t[..., 2:], t[..., :2]], -1) * 0.5 + t for t in (q, k))
        elif self.variant == "rotated_in_pairs":
            q, k = (torch.stack([-t[..., 1::2], t[..., ::2]], -1).flatten(-2) * 0.5 + t for t in (q, k))
        elif self.variant == "heads_rolled":
            v = v.roll(1, 1)
        if self.variant == "linear":
            q, k = F.elu(q) + 1, F.elu(k).add(1)
            y = q @ (k.mT @ v) / (q @ k.sum(2)[..., None])
        elif self.variant == "over_channels":
            y = ((k.mT @ q).softmax(-2).mT @ v.mT).mT
        elif self.variant == "fused":
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.mT / 2
            if self.variant == "talking_heads":
                scores = torch.einsum("bhij,hg->bgij", scores, self.between)
            elif self.variant == "bias_of_heads":
                scores = scores + self.bias
            elif self.variant == "slopes":
                scores = scores - self.per_head.exp() * torch.arange(6.0).to(scores)
            elif self.variant == "slopes_by_place":
                scores = scores - 2.0 ** -torch.arange(1.0, 3).to(scores)[:, None, None] * torch.arange(6.0).to(scores)
            weights = scores.softmax(1 if self.variant == "softmax_over_heads" else -1)
            y = weights @ v
        if self.variant == "gated_heads":
            y = y * self.per_head.sigmoid()
        if self.variant == "heads_added":
            y = y.sum(1, keepdim=True).expand(-1, 2, -1, -1)
        y = y.transpose(1, 2).flatten(2) if self.variant != "merged_wrongly" else y.reshape(len(x), 6, 8)
        return self.out(h + self.o(y))


for _variant in (
    "plain", "heads_inside", "one_key_for_all", "query_is_key", "normed_queries", "cosine", "memory_tokens", "rotated",
    "rotated_in_pairs", "heads_rolled", "linear", "over_channels", "fused", "talking_heads", "bias_of_heads", "slopes",
    "slopes_by_place", "softmax_over_heads", "gated_heads", "heads_added", "merged_wrongly",
):  # fmt: skip
    add(f"attention_{_variant}", lambda variant=_variant: (Attention(variant), torch.randn(2, 6, 5)))

# -- loops, scans and mixing over tokens -------------------------------------------------------------------------------


def _scan(step: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(h: Tensor, *layers: Any) -> Tensor:
        state, outputs = torch.zeros_like(h[:, 0]), []
        for t in range(h.shape[1]):
            state = step(state, h[:, t], *layers)
            outputs.append(state)
        return torch.stack(outputs, 1)

    return run


tokens("scan_of_a_decay", _scan(lambda s, x: 0.9 * s + x))
tokens("scan_of_gates", _scan(lambda s, x, g: g(x).sigmoid() * s + x), lambda: nn.Linear(8, 8))
tokens("scan_of_mixing", _scan(lambda s, x, w: torch.tanh(w(s) + x)), lambda: nn.Linear(8, 8))
tokens("scan_that_shifts_units", _scan(lambda s, x: s.roll(1, -1) + x))
tokens("scan_of_outer_products", lambda h, q: torch.stack(
    [(q(h[:, t])[:, None] @ sum(h[:, i, :, None] * h[:, i, None] for i in range(t + 1)))[:, 0] for t in range(6)], 1),
    lambda: nn.Linear(8, 8))  # fmt: skip
tokens("mixed_over_tokens", lambda h, w: h + w(h.mT).mT, lambda: nn.Linear(6, 6))
tokens("gated_by_token_mixing", lambda h, w: torch.cat([h[..., :4] * w(h[..., 4:].mT).mT, h[..., :4]], -1),
       lambda: nn.Linear(6, 6))  # fmt: skip
tokens("tokens_flattened", lambda h, w: w(h.flatten(1)).view(-1, 6, 8), lambda: nn.Linear(48, 48))
tokens("tokens_and_units_swapped_views", lambda h: h.reshape(-1, 8, 6).mT)
tokens("tokens_shifted_by_halves", lambda h: torch.cat([h[..., :4].roll(1, 1), h[..., 4:]], -1))
tokens("cross_correlation_of_tokens", lambda h: torch.einsum("btd,bsd,bse->bte", h, h, h))
tokens("bilinear", lambda h, w: w(h, h.roll(1, 1)), lambda: nn.Bilinear(8, 8, 8))
tokens("bilinear_of_units_and_tokens", lambda h, w: w(h, h.mT[:, :6]), lambda: nn.Bilinear(8, 6, 8))
tokens("gated_linear_unit", lambda h, w: F.glu(w(h), -1), lambda: nn.Linear(8, 16))
tokens("gated_in_pairs", lambda h, w: w(h)[..., ::2] * w(h)[..., 1::2].sigmoid(), lambda: nn.Linear(8, 16))
tokens("gated_by_an_unflattened_pair", lambda h, w: w(h).unflatten(-1, (8, 2)).prod(-1), lambda: nn.Linear(8, 16))
tokens("experts_by_argmax", lambda h, r, w: torch.einsum(
    "btd,btde->bte", h, w.weight.view(3, 8, 8)[r(h).argmax(-1)]), lambda: nn.Linear(8, 3), lambda: nn.Linear(8, 24),
)  # fmt: skip
tokens("experts_in_order", lambda h, w: torch.einsum("btd,kde,k->bte", h, w.weight.view(3, 8, 8),
       torch.arange(1.0, 4).to(h)), lambda: nn.Linear(8, 24))  # fmt: skip

# -- indices, einsum, dtypes, complex numbers -------------------------------------------------------------------------

flat("einsum_of_a_diagonal", lambda h, w: torch.einsum("bi,ii->bi", h, w.weight), lambda: nn.Linear(8, 8))
flat("einsum_of_the_trace", lambda h, w: h * torch.einsum("ii->", w.weight), lambda: nn.Linear(8, 8))
flat("einsum_with_a_repeat", lambda h, w: torch.einsum("bi,ij,bj->bij", h, w.weight, h).sum(2), lambda: nn.Linear(8, 8))
flat("einsum_transposed", lambda h, w: torch.einsum("bi,ij,kj->bk", h, w.weight, w.weight), lambda: nn.Linear(8, 8))
flat("symmetrized_weight", lambda h, w: h @ (w.weight + w.weight.T), lambda: nn.Linear(8, 8))
flat("skew_weight_exponential", lambda h, w: h @ torch.matrix_exp(w.weight - w.weight.T), lambda: nn.Linear(8, 8))
flat("weight_power", lambda h, w: h @ (w.weight @ w.weight @ w.weight), lambda: nn.Linear(8, 8))
flat("weight_inverse", lambda h, w: h @ torch.linalg.inv(w.weight + 20 * torch.eye(8).to(h)), lambda: nn.Linear(8, 8))
flat("weight_diagonal", lambda h, w: h * w.weight.diagonal(), lambda: nn.Linear(8, 8))
flat("weight_row_as_a_bias", lambda h, w: w(h) + w.weight[0], lambda: nn.Linear(8, 8))
flat("weight_column_as_a_bias", lambda h, w: w(h) + w.weight[:, 3], lambda: nn.Linear(8, 8))
flat("index_of_lists", lambda h: h[:, [3, 1, 2, 0, 7, 6, 5, 4]] + h)
flat("index_of_repeats", lambda h: h[:, [0, 0, 1, 1, 2, 2, 3, 3]], after=8)
flat("index_of_pairs", lambda h: (h[:, :, None] * h[:, None])[:, [0, 1, 2], [1, 2, 3]], after=3)
flat("upper_triangle", lambda h: (h[:, :, None] * h[:, None])[:, *torch.triu_indices(8, 8, 1)], after=28)
flat("picked_by_a_norm", lambda h: h.gather(1, h.abs().argmax(1, keepdim=True)) + h)
flat("strided_view", lambda h: torch.as_strided(h.contiguous(), (h.shape[0], 8), (8, 1)) * h)
flat("strided_reversed_pairs", lambda h: torch.as_strided(h.contiguous(), (h.shape[0], 2, 4), (8, 1, 2)).flatten(1) * h)
flat("unfolded_windows", lambda h: h.unfold(1, 3, 1).sum(2), after=6)
flat("repeat_interleaved", lambda h: h.repeat_interleave(2, 1), after=16)
flat("repeated", lambda h: h.repeat(1, 2), after=16)
flat("tiled_and_folded", lambda h: h.repeat(1, 2).view(-1, 8, 2).sum(2))
flat("split_unevenly", lambda h: torch.cat(h.split([3, 5], 1)[::-1], 1) * h)
flat("moved_dims", lambda h: h.view(-1, 2, 2, 2).movedim(1, 3).flatten(1) + h)
flat("swapped_halves", lambda h: torch.cat([h[:, 4:], h[:, :4]], 1) + h)
flat("where_of_a_place", lambda h: torch.where(torch.arange(8) < 4, h, h.relu()))
flat("where_of_a_unit", lambda h: torch.where(h > h.mean(1, keepdim=True), h, -h))
flat("bucketized", lambda h: torch.bucketize(h, torch.linspace(-1, 1, 5).to(h)).to(h.dtype))
flat("searched_in_its_own_order", lambda h: torch.searchsorted(h.sort(1)[0], h).to(h.dtype))
flat("cast_to_half", lambda h: h.half().to(h.dtype) * h)
flat("cast_to_integers", lambda h: (8 * h).int().to(h.dtype).cumsum(1))
flat("cast_bits", lambda h: h.view(torch.int64 if h.dtype == torch.float64 else torch.int32).sign().to(h.dtype) * h)
flat("complex_of_halves", lambda h: torch.complex(h[:, :4], h[:, 4:]).abs(), after=4)
flat("complex_of_one_part", lambda h: torch.complex(h, h.square()).angle())
flat("complex_pairs_multiplied", lambda h: torch.view_as_real(torch.view_as_complex(h.view(-1, 4, 2)) ** 2).flatten(1))
flat("polar", lambda h: torch.polar(h.abs(), h).real)
flat("convolved_by_fourier", lambda h: torch.fft.irfft(torch.fft.rfft(h) ** 2, 8))
flat("logsumexp_of_all", lambda h: h - h.logsumexp(1, keepdim=True))
flat("softmax_of_pairs", lambda h: h.view(-1, 4, 2).softmax(2).flatten(1))
flat("softmax_of_interleaved_pairs", lambda h: h.view(-1, 2, 4).softmax(1).flatten(1))
flat("renormed", lambda h: F.normalize(h, dim=1) * h.norm(dim=0, keepdim=True))
flat("whitened_by_the_batch", lambda h: h - h.mean(0))
flat("vmapped", lambda h: torch.vmap(lambda row: row * row.sum())(h))
flat("vmapped_cumsum", lambda h: torch.vmap(lambda row: row.cumsum(0))(h))
flat("unbound_and_weighted", lambda h: sum(u * k for k, u in enumerate(h.unbind(1)))[:, None], after=1)
flat("unbound_and_added", lambda h: sum(h.unbind(1))[:, None], after=1)
flat("loop_over_units", lambda h: torch.stack([h[:, i] * h[:, i - 1] for i in range(8)], 1))
flat("loop_over_units_alone", lambda h: torch.stack([h[:, i].square() for i in range(8)], 1))
flat("written_by_index_put", lambda h: torch.zeros_like(h).index_put((torch.arange(6)[:, None], torch.arange(8)), h))
flat("written_reversed", lambda h: torch.zeros_like(h).index_copy(1, torch.arange(8).flip(0), h) + h)
flat("scattered_by_place", lambda h: torch.zeros_like(h).scatter_add(1, torch.arange(8).remainder(3).expand_as(h), h))
flat("masked_select_of_places", lambda h: h[:, torch.tensor([True, False] * 4)], after=4)
