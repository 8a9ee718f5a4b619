"""Code of one's own in a network: branches, writes, functions, hooks, subclasses, inputs; outputs never change."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dimat_flwr.symmetry import SymmetryError, find_permutation_spec, verify
from tests.symmetry.checks import checked_spec, sizes
from tests.symmetry.networks import ConvNet, Function

IMAGE = (2, 3, 8, 8)


def test_unknown_operator_keeps_its_operands_and_says_so():
    unknown = ConvNet(nn.Conv2d(8, 6, 1), Function(lambda x: x.renorm(2, 1, 1.0)), after=6)
    spec = checked_spec(unknown, torch.randn(IMAGE))
    assert sizes(spec) == {"stem": (8,)}
    assert any("renorm" in warning for warning in spec.warnings)


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


@pytest.mark.slow
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


@pytest.mark.parametrize("inplace_layer", [True, False])
def test_an_activation_in_place_on_some_channels_is_seen(inplace_layer):
    relu = nn.ReLU(inplace=True) if inplace_layer else torch.relu_

    def some(x):
        y = x + 1
        relu(y[:, :3])
        return y

    spec = checked_spec(ConvNet(Function(some)), torch.randn(IMAGE))
    assert [g.units for g in spec.groups.values()] == [3, 5]
