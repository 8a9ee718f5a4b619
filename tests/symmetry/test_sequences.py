"""Attention, recurrent layers, experts and tables over tokens: what moves, and that outputs do not change."""

import pytest
import torch
from torch import nn

from tests.symmetry.adversarial import CASES
from tests.symmetry.checks import checked_spec, sizes
from tests.symmetry.networks import Attention, Mixer

IMAGE = (2, 3, 8, 8)


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


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN_", 1), ("LSTMCell", 4), ("GRUCell", 3)])
def test_all_gates_of_a_recurrent_layer_share_a_permutation(kind, gates):
    model, x = CASES[kind if kind.endswith(("_", "Cell")) else f"{kind}_"]()
    spec = checked_spec(model, x)
    name = "cell.weight_ih" if kind.endswith("Cell") else "layer.weight_ih_l0"
    assert sizes(spec) == {"inp": (6,), name: (4,)}
    assert {a.positions.shape for a in spec.groups[name].axes if a.dim == 0 and "out" not in a.tensor} == {(gates, 4)}
    assert spec.warnings == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LSTM_bidirectional_deep", "LSTM_projected", "GRU_last_num_layers", "RNN_of_relu"])
def test_recurrent_layers_of_every_shape(name):
    spec = checked_spec(*CASES[name]())
    assert spec.permutable_share > 0.95
    assert spec.warnings == ()


def test_units_of_stacked_experts_move_alike():
    spec = checked_spec(*CASES["routed_experts"]())
    assert [(a.tensor, a.dim) for a in spec.groups["up"].axes] == [("up", 2), ("down", 1)]


def test_a_fourier_transform_over_tokens_leaves_the_channels_free():
    assert sizes(checked_spec(*CASES["fourier_over_tokens"]())) == {"inp": (8,)}


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
