"""Pooling, orders along a dim, and constants."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.symmetry.adversarial.base import flat, image, tokens

# -- pooling, padding and resizing of values without a batch or with few dims ---------------------------------------

flat("pool_1d_over_features", lambda h: F.max_pool1d(h, 2), after=4)
flat("pool_1d_of_features_padded", lambda h: F.avg_pool1d(h, 3, 1, 1))
flat("pool_1d_layer_over_features", lambda h, p: p(h), lambda: nn.MaxPool1d(3, 1, 1))
flat("adaptive_pool_over_features", lambda h: F.adaptive_avg_pool1d(h, 4), after=4)
flat("adaptive_max_pool_layer_over_features", lambda h, p: p(h), lambda: nn.AdaptiveMaxPool1d(8))
flat("lp_pool_over_features", lambda h: F.lp_pool1d(h.abs() + 1, 2, 3, 1), after=6)
tokens("pool_1d_over_the_last_dim", lambda h: F.avg_pool1d(h, 3, 1, 1))
tokens("pool_2d_over_tokens_and_features", lambda h: F.avg_pool2d(h, 3, 1, 1))
tokens("pool_2d_layer_without_batch", lambda h, p: p(h), lambda: nn.MaxPool2d(3, 1, 1))
tokens("pool_1d_over_tokens", lambda h: F.max_pool1d(h.transpose(1, 2), 3, 1, 1).transpose(1, 2))
image("pool_3d_without_batch", lambda h: F.avg_pool3d(h, 3, 1, 1))
image("pool_3d_layer_without_batch", lambda h, p: p(h), lambda: nn.MaxPool3d(3, 1, 1))
image("pool_3d_of_one_more_dim", lambda h: F.max_pool3d(h[:, None], (3, 1, 1), 1, (1, 0, 0))[:, 0])
tokens("upsampled_features", lambda h: F.interpolate(h, scale_factor=2.0), after=16)
tokens("upsampled_linearly", lambda h: F.interpolate(h, size=12, mode="linear"), after=12)
flat("reflected_features", lambda h: F.pad(h[:, None], (1, 1), "reflect")[:, 0], after=10)
flat("replicated_features", lambda h: F.pad(h[:, None], (2, 0), "replicate")[:, 0], after=10)
flat("padding_with_one", lambda h: F.pad(h, (1, 2), value=1.0) * F.pad(h, (2, 1), value=1.0), after=11)
tokens("instance_norm_2d_without_batch", lambda h, n: n(h[:, :, None]).squeeze(2), lambda: nn.InstanceNorm2d(6))
flat("unfolded", lambda h: F.unfold(h[:, None, :, None], (2, 1)).mean(2), after=2)

# -- results that depend on the order along a dim -------------------------------------------------------------------

flat("cumsum", lambda h: h.cumsum(1))
flat("cumprod", lambda h: (1 + 0.3 * h).cumprod(-1))
flat("cummax", lambda h: h.cummax(1)[0])
flat("logcumsumexp", lambda h: h.logcumsumexp(1))
flat("cumsum_of_a_mean", lambda h: h * h.mean(1, keepdim=True).expand(-1, 8).cumsum(1))
flat("cumprod_of_a_mean", lambda h: h * (1 + h.mean(1, keepdim=True)).expand_as(h).cumprod(1))
flat("cumsum_of_ones", lambda h: h * torch.ones_like(h).cumsum(1))
flat("cumsum_of_a_picked_one", lambda h: h + h[:, :1].repeat(1, 8).cumsum(1))
tokens("cumsum_over_tokens", lambda h: h.cumsum(1))
flat("sorted", lambda h: h.sort(1).values)
flat("sorted_gaps", lambda h: h.sort(1)[0].diff(dim=1), after=7)
flat("topk", lambda h: h.topk(3, 1).values, after=3)
flat("kthvalue", lambda h: h * h.kthvalue(3, 1, keepdim=True)[0])
flat("median", lambda h: h * h.median(1, keepdim=True)[0])
flat("diff", lambda h: h.diff(dim=1), after=7)
flat("argmax_as_a_number", lambda h: h * h.argmax(1, keepdim=True))
flat("max_with_its_index", lambda h: h * h.max(1, keepdim=True)[1])
flat("gathered_by_its_own_order", lambda h: h.gather(1, h.argsort(1)))
flat("flipped", lambda h: h + h.flip(1).tanh())
flat("rolled", lambda h: h * h.roll(1, 1))
flat("rolled_flattened", lambda h: h * h.roll(3))
flat("triangle", lambda h: (h[:, :, None] * h[:, None]).tril().sum(2))
flat("diagonal_weights", lambda h: h @ torch.diag(torch.arange(1.0, 9, dtype=h.dtype)))
flat("fourier", lambda h: torch.fft.rfft(h, dim=1).abs(), after=5)
tokens("fourier_over_tokens", lambda h: torch.fft.fft(h, dim=1).real)
flat("cdist", lambda h: torch.cdist(h, h.roll(1, 1)), after=6)
flat("outer_product_flattened", lambda h: (h[:, :, None] * h[:, None]).flatten(1), after=64)
flat("outer_product_halves", lambda h: (h[:, :4, None] * h[:, None, 4:]).flatten(1), after=16)
flat("polynomial_of_the_place", lambda h: h * torch.linspace(0, 1, 8, dtype=h.dtype))
flat("linspace_like", lambda h: h + torch.arange(h.shape[1], dtype=h.dtype, device=h.device))
image("local_response", lambda h: F.local_response_norm(h, 3))
image("channels_as_rows", lambda h: h.permute(0, 2, 1, 3).reshape(h.shape))

# -- constants ------------------------------------------------------------------------------------------------------

flat("full_like_compared", lambda h: torch.where(torch.full_like(h, 2.0) > 1, h.cumsum(1), h))
flat("full_like_not_zero", lambda h: h * torch.full_like(h, 3.0).cumsum(1))
flat("new_full_as_a_switch", lambda h: h.flip(1) * h if bool(h.new_full((1,), 1.0).numel()) else h)
flat("new_full_as_an_index", lambda h: h * h[:, h.new_full((1,), 2, dtype=torch.long)])
flat("fill_as_a_factor", lambda h: h * torch.empty_like(h).fill_(2.0).cumsum(1))
flat("fill_compared", lambda h: torch.where(h.clone().fill_(1.0) > 0.5, h.roll(1, 1), h) * h)
flat("concatenated_constants", lambda h: h * torch.cat([torch.ones_like(h[:, :4]), 2 * torch.ones_like(h[:, 4:])], 1))
flat("zeros_beside_ones", lambda h: h * torch.cat([h.new_zeros(6, 4), h.new_ones(6, 4)], 1)[: h.shape[0]])
flat("zeros_beside_units", lambda h: torch.cat([h[:, :4], torch.zeros_like(h[:, 4:])], 1) * h)
flat(
    "constants_around_units",
    lambda h: torch.cat([torch.ones_like(h[:, :2]), h[:, 2:6], torch.zeros_like(h[:, 6:])], 1) + h,
)
flat(
    "stacked_constants",
    lambda h: h * torch.stack([torch.ones_like(h[:, :4]), torch.zeros_like(h[:, 4:])], 2).flatten(1),
)
flat(
    "constants_summed",
    lambda h: (
        (h * torch.cat([torch.ones_like(h[:, :4]), -torch.ones_like(h[:, 4:])], 1)).sum(1, keepdim=True).expand(-1, 8)
        * h
    ),
)
flat("one_hot_of_places", lambda h: h * F.one_hot(torch.tensor([3]), 8).to(h.dtype))
flat("masked_places", lambda h: h.masked_fill(torch.arange(8) > 4, 0.5))
flat("eye", lambda h: h + torch.eye(8, dtype=h.dtype)[2])
