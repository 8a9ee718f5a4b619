"""Layers over unusual axes, of unusual shapes, shared, tied and grouped."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.symmetry.adversarial.base import Case, Flat, add, case, flat, image, tokens

# -- convolutions: grouped, depthwise, transposed, of several ranks --------------------------------------------------

image("transposed_convolution", lambda h, c: c(h), lambda: nn.ConvTranspose2d(8, 8, 2, 2))
image("transposed_convolution_in_groups", lambda h, c: c(h), lambda: nn.ConvTranspose2d(8, 8, 2, 2, groups=2))
image("transposed_depthwise", lambda h, c: c(h), lambda: nn.ConvTranspose2d(8, 8, 2, 2, groups=8))
image("depthwise_twice_as_wide", lambda h, c: c(h), lambda: nn.Conv2d(8, 16, 3, 1, 1, groups=8), after=16)
image("depthwise_four_times_as_wide", lambda h, c: c(h).relu(), lambda: nn.Conv2d(8, 32, 1, groups=8), after=32)
image("groups_shuffled_between", lambda h, a, b: b(F.channel_shuffle(a(h), 2)),
      lambda: nn.Conv2d(8, 8, 1, groups=2), lambda: nn.Conv2d(8, 8, 1, groups=2))  # fmt: skip
image("groups_of_two_sizes", lambda h, a, b: b(a(h)),
      lambda: nn.Conv2d(8, 8, 1, groups=2), lambda: nn.Conv2d(8, 8, 1, groups=4))  # fmt: skip
image("groups_with_a_shortcut", lambda h, c: h + c(h), lambda: nn.Conv2d(8, 8, 3, 1, 1, groups=2))
image("groups_whose_halves_are_added", lambda h, c: c(h).view(-1, 2, 4, 8, 8).sum(1),
      lambda: nn.Conv2d(8, 8, 1, groups=2), after=4)  # fmt: skip
image("groups_summed_inside", lambda h, c: c(h).view(-1, 2, 4, 8, 8).sum(2),
      lambda: nn.Conv2d(8, 8, 1, groups=2), after=2)  # fmt: skip
image("convolution_over_channels", lambda h, c: c(h[:, None]).mean(1), lambda: nn.Conv3d(1, 4, (3, 1, 1), 1, (1, 0, 0)))
image("convolution_over_all_channels", lambda h, c: c(h[:, None]).squeeze(2), lambda: nn.Conv3d(1, 8, (8, 1, 1)))
tokens("convolution_over_features", lambda h, c: c(h), lambda: nn.Conv1d(6, 6, 3, 1, 1))
tokens("convolution_over_tokens", lambda h, c: c(h.transpose(1, 2)).transpose(1, 2), lambda: nn.Conv1d(8, 8, 3, 1, 1))
tokens("causal_depthwise", lambda h, c: c(F.pad(h.mT, (2, 0))).mT * h, lambda: nn.Conv1d(8, 8, 3, groups=8))
image("dynamic_kernel", lambda h: F.conv2d(h.view(1, -1, 8, 8), h.mean((2, 3)).view(-1, 1, 1, 1),
      groups=h.shape[0] * 8).view(h.shape))  # fmt: skip
image("kernel_of_another_layer", lambda h, c: F.conv2d(c(h), c.weight.transpose(0, 1)), lambda: nn.Conv2d(8, 8, 1))
image("kernel_read_twice", lambda h, c: c(c(h).relu()), lambda: nn.Conv2d(8, 8, 3, 1, 1))
image("kernel_flipped_in_space", lambda h, c: F.conv2d(h, c.weight.flip(2)), lambda: nn.Conv2d(8, 8, 3))
image("kernel_flipped_in_channels", lambda h, c: F.conv2d(h, c.weight.flip(1)) + h, lambda: nn.Conv2d(8, 8, 1))
image("kernel_standardized", lambda h, c: F.conv2d(h, (c.weight - c.weight.mean((1, 2, 3), keepdim=True))
      / (c.weight.std((1, 2, 3), keepdim=True) + 1e-5)), lambda: nn.Conv2d(8, 8, 3))  # fmt: skip
image("kernel_normed_over_all", lambda h, c: F.conv2d(h, c.weight / c.weight.norm()), lambda: nn.Conv2d(8, 8, 3))
image("mask_along_the_kernel", lambda h, c: F.conv2d(h, c.weight * torch.ones(8, 8).tril()[:, :, None, None].to(h)),
      lambda: nn.Conv2d(8, 8, 1))  # fmt: skip

# -- norms over odd axes ---------------------------------------------------------------------------------------------

image("layer_norm_of_a_whole_image", lambda h, n: n(h), lambda: nn.LayerNorm([8, 8, 8]))
image("layer_norm_over_columns", lambda h, n: n(h), lambda: nn.LayerNorm(8))
image("layer_norm_of_channels_last", lambda h, n: n(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), lambda: nn.LayerNorm(8))
image("layer_norm_of_a_wrong_axis", lambda h, n: n(h.permute(0, 2, 1, 3)).permute(0, 2, 1, 3), lambda: nn.LayerNorm(8))
tokens("layer_norm_of_two_dims", lambda h, n: n(h), lambda: nn.LayerNorm([6, 8]))
tokens("batch_norm_of_tokens", lambda h, n: n(h), lambda: nn.BatchNorm1d(6))
tokens("batch_norm_of_features", lambda h, n: n(h.transpose(1, 2)).transpose(1, 2), lambda: nn.BatchNorm1d(8))
tokens("batch_norm_of_rows", lambda h, n: n(h.flatten(0, 1)).view(h.shape), lambda: nn.BatchNorm1d(8))
image("group_norm_then_groups", lambda h, n, c: c(n(h)),
      lambda: nn.GroupNorm(4, 8), lambda: nn.Conv2d(8, 8, 1, groups=2))  # fmt: skip
image("group_norm_of_one_group", lambda h, n: n(h), lambda: nn.GroupNorm(1, 8))
image("group_norm_of_single_channels", lambda h, n: n(h), lambda: nn.GroupNorm(8, 8))
image("instance_norm_with_weights", lambda h, n: n(h), lambda: nn.InstanceNorm2d(8, affine=True))
tokens("root_mean_square_norm", lambda h, n: n(h), lambda: nn.RMSNorm(8))
tokens(
    "norm_shared_by_two_streams", lambda h, n, a: n(a(n(h))) * n(h), lambda: nn.LayerNorm(8), lambda: nn.Linear(8, 8)
)
flat("norm_of_halves", lambda h, n: n(h.view(-1, 2, 4)).flatten(1), lambda: nn.LayerNorm(4))
flat("norm_of_interleaved_halves", lambda h, n: n(h.view(-1, 4, 2).mT).mT.flatten(1), lambda: nn.LayerNorm(4))
flat("batch_norm_of_a_flat_view", lambda h, n: n(h.view(-1, 4)).view(-1, 8), lambda: nn.BatchNorm1d(4))
flat("prelu_of_halves", lambda h, p: p(h.view(-1, 2, 4)).flatten(1), lambda: nn.PReLU(2))
flat("prelu_of_units", lambda h, p: p(h), lambda: nn.PReLU(8))

# -- pooling, flattening, gates and shuffles --------------------------------------------------------------------------


class Pooled(nn.Module):
    """Images to a head that reads a flattened pooling."""

    def __init__(self, flatten: Callable[[Tensor], Tensor], width: int):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.flatten, self.mid, self.out = flatten, nn.Linear(width, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.mid(self.flatten(torch.relu(self.norm(self.conv(x)))))))


_FLATTENED: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "pooled_and_flattened": (lambda h: F.adaptive_avg_pool2d(h, 2).flatten(1), 24),
    "flattened_with_pixels_first": (lambda h: F.adaptive_max_pool2d(h, 2).permute(0, 2, 3, 1).flatten(1), 24),
    "flattened_in_a_mixed_order": (lambda h: F.avg_pool2d(h, 4).permute(0, 2, 1, 3).reshape(h.shape[0], -1), 24),
    "two_poolings_side_by_side": (lambda h: torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1), 12),
    "two_poolings_interleaved": (lambda h: torch.stack([h.mean((2, 3)), h.amax((2, 3))], 2).flatten(1), 12),
    "pyramid_of_poolings": (lambda h: torch.cat([F.adaptive_avg_pool2d(h, k).flatten(1) for k in (1, 2)], 1), 30),
    "pooled_with_its_index": (lambda h: F.max_pool2d(h, 8, return_indices=True)[1].flatten(1).to(h.dtype), 6),
    "pooled_and_unpooled": (lambda h: F.max_unpool2d(*F.max_pool2d(h, 2, return_indices=True), 2).mean((2, 3)), 6),
    "covariance_of_channels": (lambda h: (h.flatten(2) @ h.flatten(2).mT).flatten(1), 36),
    "deviation_of_channels": (lambda h: h.std((2, 3)), 6),
    "pixels_unshuffled": (lambda h: F.pixel_unshuffle(h, 4).mean((2, 3)), 96),
    "patches": (lambda h: F.unfold(h, 4, stride=4).mean(2), 96),
}
for _name, (_flatten, _width) in _FLATTENED.items():
    add(_name, lambda flatten=_flatten, width=_width: (Pooled(flatten, width), torch.randn(2, 3, 8, 8)))

image("squeeze_and_excite", lambda h, a, b: h * b(a(h.mean((2, 3), keepdim=True)).relu()).sigmoid(),
      lambda: nn.Conv2d(8, 4, 1), lambda: nn.Conv2d(4, 8, 1))  # fmt: skip
image("excite_another_channel", lambda h, a: h * a(h.mean((2, 3))).flip(1)[:, :, None, None].sigmoid(),
      lambda: nn.Linear(8, 8))  # fmt: skip
image("excite_by_a_neighbourhood", lambda h, c: h * c(h.mean((2, 3))[:, None])[:, 0, :, None, None].sigmoid(),
      lambda: nn.Conv1d(1, 1, 3, padding=1))  # fmt: skip
image("halves_shuffled", lambda h, c: torch.stack([h[:, :4], c(h[:, 4:])], 2).flatten(1, 2), lambda: nn.Conv2d(4, 4, 1))
image("a_part_convolved", lambda h, c: torch.cat([c(h[:, :3]), h[:, 3:]], 1), lambda: nn.Conv2d(3, 3, 1))
image("shifted_channels", lambda h: torch.cat([h[:, :4].roll(1, 2), h[:, 4:].roll(1, 3)], 1))
image("dense_connections", lambda h, a, b: torch.cat([h, b(torch.cat([h, a(h)], 1))], 1),
      lambda: nn.Conv2d(8, 4, 1), lambda: nn.Conv2d(12, 4, 1), after=12)  # fmt: skip
image("dense_connections_reordered", lambda h, a, b: b(torch.cat([h, a(h)], 1)) + a(h) @ h[:, :4].mT,
      lambda: nn.Conv2d(8, 4, 1), lambda: nn.Conv2d(12, 4, 1), after=4)  # fmt: skip
image("coordinates_as_channels", lambda h, c: c(torch.cat([h, torch.arange(8.0).to(h).expand(h.shape[0], 2, 8, 8)], 1)),
      lambda: nn.Conv2d(10, 8, 1))  # fmt: skip
image("grid_sampled", lambda h: F.grid_sample(h, F.affine_grid(torch.eye(2, 3).to(h).expand(h.shape[0], 2, 3),
      [h.shape[0], 8, 5, 5], False), align_corners=False))  # fmt: skip

# -- embeddings and tables --------------------------------------------------------------------------------------------


class Words(nn.Module):
    """Embeds tokens, and scores words by the table, or a part of it, again."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.table, self.place = nn.Embedding(11, 8), nn.Embedding(6, 8)
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)
        self.bag = nn.EmbeddingBag(11, 8)
        self.head = nn.Linear(8, 11, bias=False)
        if how == "tied":
            self.head.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        h: Any = self.table(tokens) + self.place.weight[: tokens.shape[1]]
        if self.how == "bag":
            h = h + self.bag(tokens)[:, None]
        h = h + self.down(torch.relu(self.up(h)))
        if self.how == "scaled":
            return h * 8**0.5 @ self.table.weight.T
        if self.how == "reversed":
            return h.flip(-1) @ self.table.weight.T
        if self.how == "rows":
            return torch.einsum("btd,vd->btv", h, self.table.weight[2:7])
        if self.how == "as_places":
            return h @ self.place.weight.T
        if self.how == "words_meet_features":
            return self.head(h) * self.table.weight.sum(1)
        return self.head(h)


for _how in ("plain", "tied", "scaled", "reversed", "rows", "as_places", "words_meet_features", "bag"):
    add(f"words_{_how}", lambda how=_how: (Words(how), torch.randint(0, 11, (3, 6))))


@case
def one_hot_words() -> Case:
    class OneHot(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Parameter(torch.randn(11, 8)), nn.Linear(8, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.out(torch.tanh(F.one_hot(tokens, 11).to(self.table.dtype) @ self.table).mean(1))

    return OneHot(), torch.randint(0, 11, (3, 6))


# -- weights that several layers share --------------------------------------------------------------------------------


@case
def layers_share_a_part() -> Case:
    """The second layer's weight is a slice of the first's."""

    class Shares(Flat):
        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(self.inp(x))
            return self.out(torch.tanh(F.linear(h[:, :5], self.inp.weight)) + h)

    return Shares(lambda h: h), torch.randn(6, 5)


@case
def low_rank_in_between() -> Case:
    class LowRank(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base, self.out = nn.Linear(8, 8), nn.Linear(8, 3)
            self.a, self.b, self.inp = (nn.Parameter(torch.randn(*s)) for s in ((2, 8), (8, 2), (8, 5)))

        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(x @ self.inp.T)
            return self.out(torch.tanh(F.linear(h, self.base.weight + self.b @ self.a, self.base.bias)))

    return LowRank(), torch.randn(6, 5)


@case
def kronecker_weight() -> Case:
    class Kronecker(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(2, 2)), nn.Parameter(torch.randn(4, 4))
            self.inp, self.out = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.tanh(torch.tanh(self.inp(x)) @ torch.kron(self.a, self.b)))

    return Kronecker(), torch.randn(6, 5)


@case
def weight_of_another_network() -> Case:
    """A hypernetwork: one layer's output is another's weight."""

    class Hyper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inp, self.make, self.out = nn.Linear(5, 8), nn.Linear(5, 48), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            made = self.make(x).view(-1, 6, 8)
            return self.out(torch.tanh(torch.bmm(made, torch.tanh(self.inp(x))[:, :, None]).squeeze(2)))

    return Hyper(), torch.randn(6, 5)


@case
def bias_shared_with_a_norm() -> Case:
    model = Flat(lambda h, a, n: n(a(h)), nn.Linear(8, 8), nn.LayerNorm(8))
    model.layers[1].bias = model.inp.bias
    return model, torch.randn(6, 5)
