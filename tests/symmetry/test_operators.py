"""One peculiarity at a time: what moves, what has to stay, and that outputs do not change either way."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dimat_flwr.symmetry import SymmetryError, find_permutation_spec, verify
from tests.symmetry.adversarial import CASES
from tests.symmetry.checks import checked_spec, sizes
from tests.symmetry.networks import Attention, ConvNet, Function, Mixer, SqueezeExcite

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


def test_hidden_units_over_tokens_stay_where_channels_move():
    spec = checked_spec(Mixer(), torch.randn(2, 6, 5))
    assert sizes(spec) == {"embed": (8,), "channel.1": (9,)}
    assert "token.0.weight" in spec.warnings[0]


@pytest.mark.parametrize(
    ("dialect", "shapes"),
    [
        ("plain", [(12,), (3,), (3, 4), (3, 4)]),
        ("einsum", [(12,), (3,), (3, 4), (3, 4)]),
        ("cosine", [(12,), (3,), (3, 4), (3, 4)]),
        ("qk_norm", [(12,), (4,), (4,), (4,), (4,)]),  # one norm for all heads: one order of units, and heads stay
        ("multi_query", [(12,), (4,), (4,)]),
    ],
)
def test_attention_dialects(dialect, shapes):
    spec = checked_spec(Attention(dialect), torch.randn(2, 6, 5))
    assert [g.shape for g in spec.groups.values()] == shapes


def test_grouped_query_attention_is_right():
    spec = checked_spec(Attention("grouped"), torch.randn(2, 6, 5))
    assert spec.permutable_share > 0.8


def test_rotary_positions_keep_units_in_place_but_not_heads():
    spec = checked_spec(Attention("rotary"), torch.randn(2, 6, 5))
    assert sizes(spec) == {"inp": (12,), "v.heads": (3,), "v": (3, 4)}
    assert {a.positions.shape for a in spec.groups["v.heads"].axes} == {(4, 3)}


def test_unknown_operator_keeps_its_operands_and_says_so():
    unknown = ConvNet(nn.Conv2d(8, 6, 1), Function(lambda x: x.renorm(2, 1, 1.0)), after=6)
    spec = checked_spec(unknown, torch.randn(IMAGE))
    assert sizes(spec) == {"stem": (8,)}
    assert any("renorm" in warning for warning in spec.warnings)


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN_", 1), ("LSTMCell", 4), ("GRUCell", 3)])
def test_all_gates_of_a_recurrent_layer_share_a_permutation(kind, gates):
    model, x = CASES[kind if kind.endswith(("_", "Cell")) else f"{kind}_"]()
    spec = checked_spec(model, x)
    name = "cell.weight_ih" if kind.endswith("Cell") else "layer.weight_ih_l0"
    assert sizes(spec) == {"inp": (6,), name: (4,)}
    assert {a.positions.shape for a in spec.groups[name].axes if a.dim == 0 and "out" not in a.tensor} == {(gates, 4)}
    assert spec.warnings == ()


@pytest.mark.parametrize("name", ["LSTM_bidirectional_deep", "LSTM_projected", "GRU_last_num_layers", "RNN_of_relu"])
def test_recurrent_layers_of_every_shape(name):
    spec = checked_spec(*CASES[name]())
    assert spec.permutable_share > 0.95
    assert spec.warnings == ()


@pytest.mark.parametrize("name", ["weight_norm", "weight_norm_of_columns", "weight_norm_of_all", "old_weight_norm"])
def test_weight_norm_moves_with_its_weight(name):
    spec = checked_spec(*CASES[name]())
    assert [g.shape for g in spec.groups.values()] == [(8,), (8,)]
    assert spec.warnings == ()


def test_units_of_stacked_experts_move_alike():
    spec = checked_spec(*CASES["routed_experts"]())
    assert [(a.tensor, a.dim) for a in spec.groups["up"].axes] == [("up", 2), ("down", 1)]


def test_a_fourier_transform_over_tokens_leaves_the_channels_free():
    assert sizes(checked_spec(*CASES["fourier_over_tokens"]())) == {"inp": (8,)}


@pytest.mark.parametrize("form", ["keywords", "dict", "mask"])
def test_inputs_by_name_in_a_dict_and_beside_a_mask(form):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp, self.out = nn.Linear(5, 8), nn.Linear(8, 2)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x, mask=None, *, scale=1.0):
            if isinstance(x, dict):
                x, mask = x["values"], x["mask"]
            h = self.inp(x) * scale
            return self.out(h + self.attention(h, h, h, attn_mask=mask, need_weights=False)[0])

    x, mask = torch.randn(2, 6, 5), torch.ones(6, 6, dtype=torch.bool).triu(1)
    example = {
        "keywords": {"mask": mask, "x": x, "scale": 0.5},
        "dict": ({"mask": mask, "values": x},),
        "mask": (x, mask),
    }
    model = Masked()
    spec = find_permutation_spec(model, example[form])
    assert [g.shape for g in spec.groups.values()] == [(8,), (2,), (2, 4), (2, 4)]
    assert verify(model, spec, example[form]) <= 1e-9
    other = {
        "keywords": {"x": x[:1], "scale": 0.5, "mask": mask},
        "dict": ({"values": x, "mask": mask},),
        "mask": (x, mask),
    }
    model.eval()
    with torch.no_grad():
        wanted = model(**other[form]) if form == "keywords" else model(*other[form])
        torch.testing.assert_close(spec.traced.run(model.state_dict(), other[form]), wanted)
    if form == "keywords":
        with pytest.raises(SymmetryError, match="takes inputs named"):
            spec.traced.run(model.state_dict(), {"x": x})


def test_training_only_branch_moves_with_what_it_reads():
    class WithAuxiliary(ConvNet):
        def __init__(self):
            super().__init__()
            self.auxiliary = nn.Conv2d(8, 5, 1)

        def forward(self, x):
            y = F.relu(self.stem(x))
            main = self.head(y).mean((2, 3))
            return (main, self.auxiliary(y).mean((2, 3))) if self.training else main

    spec = checked_spec(WithAuxiliary(), torch.randn(IMAGE))
    assert "auxiliary.weight" in spec.training_only
    assert ("auxiliary.weight", 1) in [(a.tensor, a.dim) for a in spec.groups["stem"].axes]


def test_in_place_writes_are_seen():
    def write(x):
        y = torch.zeros_like(x)
        y[:, :3] = x[:, :3]
        y[:, 3:] += x[:, 3:] * 2
        return y

    spec = checked_spec(ConvNet(Function(write)), torch.randn(IMAGE))
    assert [g.units for g in spec.groups.values()] == [3, 5]


@torch.fx.wrap
def softplus(x):
    """Named like a known operator, but it does something else."""
    return x.flip(1) * torch.linspace(0, 1, x.shape[1], dtype=x.dtype)[:, None, None]


def test_somebodys_own_function_is_not_taken_for_the_operator_of_its_name():
    spec = checked_spec(ConvNet(Function(lambda x: softplus(x))), torch.randn(IMAGE))
    assert sizes(spec) == {}


@pytest.mark.parametrize("wrap", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_computed_weights_are_kept_in_place_rather_than_guessed(wrap):
    checked_spec(ConvNet(wrap(nn.Conv2d(8, 6, 1)), nn.ReLU(), nn.Conv2d(6, 8, 1)), torch.randn(IMAGE))


def test_hooks_are_part_of_the_network():
    """A hook that scales each channel by its place keeps the channels in place."""
    model = ConvNet(nn.Conv2d(8, 6, 1), nn.ReLU(), after=6)
    scale = torch.linspace(0.1, 1, 6, dtype=torch.float64)[:, None, None]
    model.middle[0].register_forward_hook(lambda module, args, output: output * scale)
    assert sizes(checked_spec(model, torch.randn(IMAGE))) == {"stem": (8,)}


def test_a_subclass_with_its_own_forward_is_another_layer():
    class Halves(nn.Conv2d):
        def forward(self, x):
            y = super().forward(x)
            return torch.cat([y[:, :3].relu(), y[:, 3:].tanh()], 1)

    spec = checked_spec(ConvNet(Halves(8, 6, 1), after=6), torch.randn(IMAGE))
    assert sorted(g.units for g in spec.groups.values()) == [3, 3, 8]


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


def test_a_position_table_of_which_the_example_reads_a_part_moves_as_a_whole():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp, self.out = nn.Linear(5, 8), nn.Linear(8, 2)
            self.table = nn.Parameter(torch.randn(10, 8))

        def forward(self, x):
            return self.out((self.inp(x) + self.table[: x.shape[1]]).tanh().mean(1))

    model = Positions()
    spec = checked_spec(model, torch.randn(2, 6, 5))
    p = spec.random(torch.Generator().manual_seed(0))
    assert torch.equal(spec.apply(model.state_dict(), p)["table"], model.table[:, p["inp"]])


@pytest.mark.parametrize("inplace_layer", [True, False])
def test_an_activation_in_place_on_some_channels_is_seen(inplace_layer):
    relu = nn.ReLU(inplace=True) if inplace_layer else torch.relu_

    def some(x):
        y = x + 1
        relu(y[:, :3])
        return y

    spec = checked_spec(ConvNet(Function(some)), torch.randn(IMAGE))
    assert [g.units for g in spec.groups.values()] == [3, 5]


def test_a_table_that_belongs_to_one_channel_keeps_it():
    class Picked(ConvNet):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(8, 8))

        def forward(self, x):
            y = self.stem(x)
            return self.head(y).mean((2, 3)) + (y[:, 3] * self.table).sum((1, 2))[:, None]

    assert [g.units for g in checked_spec(Picked(), torch.randn(IMAGE)).groups.values()] == [7]


@pytest.mark.parametrize("kdim", [None, 5])
def test_cross_attention_of_two_streams(kdim):
    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 12), nn.Linear(5, kdim or 12)
            self.attention = nn.MultiheadAttention(12, 3, kdim=kdim, vdim=kdim, batch_first=True)
            self.out = nn.Linear(12, 2)

        def forward(self, x):
            a, b = self.a(x), self.b(x.flip(1))
            return self.out((a + self.attention(a, b, b, need_weights=False)[0]).mean(1))

    spec = checked_spec(Cross(), torch.randn(2, 6, 5))
    # With one weight for queries, keys and values, its columns serve both streams: they share an order.
    streams = [(12,)] if kdim is None else [(12,), (5,)]
    assert [g.shape for g in spec.groups.values()] == [*streams, (3,), (3, 4), (3, 4)]
