"""One peculiarity at a time: what moves, what has to stay, and that outputs do not change either way."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.symmetry.adversarial import CASES
from tests.symmetry.checks import checked_spec, sizes
from tests.symmetry.networks import ConvNet, Function, SqueezeExcite

IMAGE = (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        ([nn.BatchNorm2d(8), nn.PReLU(8)], {"stem": (8,)}),
        ([nn.GroupNorm(1, 8)], {"stem": (8,)}),
        ([nn.InstanceNorm2d(8, affine=True)], {"stem": (8,)}),
        ([nn.LocalResponseNorm(3)], {}),
        ([nn.Conv2d(8, 8, 3, groups=8)], {"stem": (8,)}),
        ([SqueezeExcite(8)], {"stem": (8,), "middle.0.down": (5,)}),
        ([nn.PixelShuffle(2), nn.Conv2d(2, 8, 1)], {"stem": (2,), "middle.1": (8,)}),
        ([nn.AvgPool2d(2), nn.Upsample(scale_factor=2), nn.Dropout2d()], {"stem": (8,)}),
        ([nn.ReflectionPad2d(1), nn.MaxPool2d(2)], {"stem": (8,)}),
        ([nn.ConvTranspose2d(8, 8, 2, 2)], {"stem": (8,), "middle.0": (8,)}),
    ],
    ids=lambda x: "-".join(type(m).__name__ for m in x) if isinstance(x, list) else "",
)
def test_one_kind_of_layer(middle, expected):
    model = ConvNet(*middle)
    if isinstance(middle[0], nn.PixelShuffle):
        expected = {"stem": (2, 4), **expected}
    found = sizes(checked_spec(model, torch.randn(IMAGE)))
    if isinstance(middle[0], nn.PixelShuffle):  # each new channel is a block of four old ones, one per pixel
        assert [n for shape in found.values() for n in shape].count(8) == 1
        assert len(found) >= 2
    else:
        assert found == expected


@pytest.mark.parametrize("layer", [nn.Conv2d(8, 12, 3, groups=4), nn.ConvTranspose2d(8, 12, 3, groups=4)])
def test_grouped_convolution_moves_groups_and_channels_within(layer):
    spec = checked_spec(ConvNet(layer, nn.BatchNorm2d(12), nn.ReLU(), after=12), torch.randn(IMAGE))
    (parent,) = [g for g in spec.groups.values() if g.name.endswith(".groups")]
    children = [g for g in spec.groups.values() if g.parent == parent.name]
    assert parent.shape == (4,)
    assert sorted(g.shape for g in children) == [(4, 2), (4, 3)]


def test_depthwise_multiplier_moves_channels_with_their_outputs():
    spec = checked_spec(ConvNet(nn.Conv2d(8, 16, 3, groups=8), after=16), torch.randn(IMAGE))
    assert sorted(g.shape for g in spec.groups.values()) == [(8,), (8, 1), (8, 2)]


def test_group_norm_keeps_its_groups():
    spec = checked_spec(ConvNet(nn.GroupNorm(4, 8)), torch.randn(IMAGE))
    assert sorted(g.shape for g in spec.groups.values()) == [(4,), (4, 2)]


def test_two_ways_of_grouping_the_same_channels():
    """Four groups within two: the two may be exchanged, and channels within the smaller ones."""
    spec = checked_spec(ConvNet(nn.GroupNorm(4, 8), nn.Conv2d(8, 8, 1, groups=2)), torch.randn(IMAGE))
    assert spec.groups["stem"].blocks == 2


def test_crossing_groups_fix_the_channels():
    shuffle = Function(lambda x: x.view(x.shape[0], 2, 4, *x.shape[2:]).transpose(1, 2).reshape(x.shape))
    spec = checked_spec(ConvNet(nn.GroupNorm(4, 8), shuffle, nn.GroupNorm(4, 8)), torch.randn(IMAGE))
    assert all(g.units <= 2 for g in spec.groups.values())


def test_concatenation_keeps_its_parts_apart():
    both = Function(lambda x, a, b: torch.cat([a(x), b(x), x], 1), nn.Conv2d(8, 6, 1), nn.Conv2d(8, 6, 1))
    spec = checked_spec(ConvNet(both, after=20), torch.randn(IMAGE))
    assert sizes(spec) == {"stem": (8,), "middle.0.layers.0": (6,), "middle.0.layers.1": (6,)}


def test_the_same_units_twice_on_an_axis_in_crossing_order():
    """x0, relu(x1), x1, relu(x0): the classes alone would exchange x0 for relu(x1)."""
    crossed = Function(lambda x: torch.stack([x[:, 0], F.relu(x[:, 1]), x[:, 1], F.relu(x[:, 0])], 1))
    stem = nn.Conv2d(3, 2, 1)
    checked_spec(nn.Sequential(stem, nn.Tanh(), crossed, nn.Conv2d(4, 3, 1)), torch.randn(IMAGE))


def test_value_and_activation_side_by_side():
    crelu = Function(lambda x: torch.cat([F.relu(x), F.relu(-x)], 1))
    spec = checked_spec(ConvNet(crelu, after=16), torch.randn(IMAGE))
    assert sizes(spec) == {"stem": (8,)}
    assert [a.positions.shape for a in spec.groups["stem"].axes if a.tensor == "head.weight"] == [(2, 8)]


def test_gate_moves_with_what_it_gates():
    spec = checked_spec(ConvNet(nn.Conv2d(8, 10, 1), Function(lambda x: F.glu(x, 1)), after=5), torch.randn(IMAGE))
    assert sizes(spec) == {"stem": (8,), "middle.0": (5,)}
    assert spec.groups["middle.0"].axes[0].positions.tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_channel_shuffle_and_chunk():
    def block(x, conv):
        a, b = x.chunk(2, 1)
        y = torch.cat([a, F.relu(conv(b))], 1)
        return y.view(y.shape[0], 2, 4, *y.shape[2:]).transpose(1, 2).flatten(1, 2)

    layers = [Function(block, nn.Conv2d(4, 4, 1)) for _ in range(2)]
    spec = checked_spec(ConvNet(*layers), torch.randn(IMAGE))
    assert sum(g.units for g in spec.groups.values()) == 16


def test_a_channel_picked_out_stays():
    spec = checked_spec(ConvNet(Function(lambda x: x * x[:, 3:4].sigmoid())), torch.randn(IMAGE))
    moved = spec.random(torch.Generator().manual_seed(0))["stem"]
    assert spec.groups["stem"].units == 7
    assert len(moved) == 7


def test_parts_reduced_differently_do_not_mix():
    halves = Function(lambda x: x * (x[:, :4].amax(1, keepdim=True) + x[:, 4:].mean(1, keepdim=True)))
    spec = checked_spec(ConvNet(halves), torch.randn(IMAGE))
    assert [g.units for g in spec.groups.values()] == [4, 4]


@pytest.mark.parametrize(
    "function",
    [lambda x: x * torch.linspace(0, 1, 8)[:, None, None], lambda x: x.cumsum(1), lambda x: x.flip(1) + x],
    ids=["constant", "cumsum", "flip"],
)
def test_order_dependent_operators_fix_the_channels(function):
    spec = checked_spec(ConvNet(Function(function)), torch.randn(IMAGE))
    assert all(g.units <= 4 for g in spec.groups.values())


def test_uniform_constants_fix_nothing():
    shift = Function(lambda x: x + torch.full((8, 1, 1), 0.5) + torch.zeros_like(x))
    assert sizes(checked_spec(ConvNet(shift), torch.randn(IMAGE))) == {"stem": (8,)}


def test_buffers_may_change_so_even_uniform_ones_fix():
    class Shifted(ConvNet):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(8, 1, 1))

        def forward(self, x):
            return self.head(self.stem(x) - self.mean).mean((2, 3))

    assert sizes(checked_spec(Shifted(), torch.randn(IMAGE))) == {}


def test_layer_scale_and_raw_parameters_move_along():
    class Scaled(ConvNet):
        def __init__(self):
            super().__init__()
            self.gamma = nn.Parameter(torch.full((8, 1, 1), 1e-6))
            self.gain = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return self.head(self.stem(x) * self.gamma * self.gain).mean((2, 3))

    spec = checked_spec(Scaled(), torch.randn(IMAGE))
    assert ("gamma", 0) in [(a.tensor, a.dim) for a in spec.groups["stem"].axes]


def test_raw_weight_matrices_and_shared_layers():
    class Raw(nn.Module):
        def __init__(self):
            super().__init__()
            self.w1, self.w2 = nn.Parameter(torch.randn(5, 8)), nn.Parameter(torch.randn(8, 3))
            self.shared = nn.Linear(8, 8)

        def forward(self, x):
            h = torch.tanh(x @ self.w1)
            return self.shared(torch.tanh(self.shared(h))) @ self.w2

    spec = checked_spec(Raw(), torch.randn(4, 5))
    (group,) = spec.groups.values()
    assert {(a.tensor, a.dim) for a in group.axes} >= {("w1", 1), ("w2", 0), ("shared.weight", 0), ("shared.weight", 1)}


@pytest.mark.parametrize("name", ["weight_norm", "weight_norm_of_columns", "weight_norm_of_all", "old_weight_norm"])
def test_weight_norm_moves_with_its_weight(name):
    spec = checked_spec(*CASES[name]())
    assert [g.shape for g in spec.groups.values()] == [(8,), (8,)]
    assert spec.warnings == ()


def test_places_that_met_in_a_circle_are_not_exchanged_out_of_step():
    """x * shuffled x ties channels 1, 2, 4 and 3, 5, 6 in two circles: they map to each other in one order only."""
    circle = Function(lambda x: x * x.view(x.shape[0], 2, 4, *x.shape[2:]).transpose(1, 2).reshape(x.shape))
    spec = checked_spec(ConvNet(circle), torch.randn(IMAGE))
    assert sizes(spec) == {"stem": (2,)}  # the two channels that meet themselves


def test_channels_that_give_to_the_same_sums_in_different_roles_stay():
    """Regrouped in threes, each channel gives other pixels of its own to each sum."""
    regrouped = Function(lambda x: x.reshape(x.shape[0], -1, 3).mean(1))
    model = nn.Sequential(nn.Conv2d(3, 6, 1), regrouped, nn.Linear(3, 2))
    checked_spec(model, torch.randn(2, 3, 2, 4))


def test_copies_of_a_channel_are_told_apart():
    twice = ConvNet(Function(lambda x: torch.cat([x, x], 1)), nn.BatchNorm2d(16), nn.ReLU(), after=16)
    assert sizes(checked_spec(twice, torch.randn(IMAGE))) == {"stem": (8,)}
    repeated = ConvNet(Function(lambda x: x.repeat_interleave(2, 1)), nn.BatchNorm2d(16), nn.ReLU(), after=16)
    assert sizes(checked_spec(repeated, torch.randn(IMAGE))) == {"stem": (8,)}


def test_a_table_that_belongs_to_one_channel_keeps_it():
    class Picked(ConvNet):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(8, 8))

        def forward(self, x):
            y = self.stem(x)
            return self.head(y).mean((2, 3)) + (y[:, 3] * self.table).sum((1, 2))[:, None]

    assert [g.units for g in checked_spec(Picked(), torch.randn(IMAGE)).groups.values()] == [7]
