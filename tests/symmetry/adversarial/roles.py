"""Units that play another role elsewhere."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.symmetry.adversarial.base import flat, image, tokens

flat("crossed_halves", lambda h: torch.cat([h[:, :4] * h[:, 4:], h[:, 4:].relu()], 1))
flat("unit_beside_its_neighbour", lambda h: torch.stack([h, h.roll(1, 1)], 2).flatten(1), after=16)
flat("pairs_maximum", lambda h: h.view(-1, 4, 2).amax(2), after=4)
flat("pairs_difference", lambda h: h.view(-1, 4, 2).diff(dim=2).flatten(1), after=4)
flat("pairs_by_stride", lambda h: h[:, ::2] - h[:, 1::2], after=4)
flat("complex_pairs", lambda h: torch.view_as_complex(h.view(-1, 4, 2)).abs(), after=4)
flat("maxout_across", lambda h: h.view(-1, 2, 4).amax(1), after=4)
tokens(
    "attention_over_units",
    lambda h: (h.transpose(1, 2) @ h).softmax(-1) @ h.transpose(1, 2).mean(2, keepdim=True).expand(-1, -1, 8),
)
tokens("tokens_weighted_by_units", lambda h: h * h[:, :, :6].transpose(1, 2).mean(2, keepdim=True).expand_as(h))
tokens("first_unit_as_gate", lambda h: h * h[..., :1].sigmoid())
tokens("units_added_to_tokens", lambda h: h[:, :, :6] + h[:, :, :6].transpose(1, 2), after=6)
image("channels_meet_rows", lambda h: h + h.transpose(1, 2))
image("channels_meet_rows_by_mean", lambda h: h * h.mean((2, 3))[:, None, :, None])
image("shuffled_by_groups", lambda h: F.channel_shuffle(h, 2) * h)
image("pixels_shuffled", lambda h: F.pixel_shuffle(h, 2), after=2)
image("softmax_over_channels_and_rows", lambda h: h.flatten(1, 2).softmax(1).view_as(h))
image("group_norm_of_a_shuffle", lambda h, n: n(F.channel_shuffle(h, 4)) + h, lambda: nn.GroupNorm(4, 8))
