"""Applying a specification: to state dicts, to optimizers, to what does not fit; and describing it."""

import copy

import pytest
import torch
from torch import nn

from dimat_flwr.symmetry import SymmetryError, TraceError, find_permutation_spec
from tests.symmetry.networks import Attention, ConvNet, ResNet20


def test_apply_is_pure_and_keeps_dtype_and_order():
    model, x = ResNet20("B"), torch.randn(1, 3, 16, 16)
    spec = find_permutation_spec(model, x)
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    before = copy.deepcopy(state)
    permuted = spec.apply(state, spec.random(torch.Generator().manual_seed(0)))
    assert list(permuted) == list(state)
    assert all(torch.equal(before[k], state[k]) for k in state)
    assert all(permuted[k].dtype == state[k].dtype and permuted[k].shape == state[k].shape for k in state)
    assert permuted["bn1.num_batches_tracked"] is state["bn1.num_batches_tracked"]


@pytest.mark.parametrize("model", [ResNet20("A"), ConvNet(nn.Conv2d(8, 8, 1, groups=2))], ids=["resnet", "groups"])
def test_training_after_permuting_is_permuting_after_training(model):
    """Gradients and momentum move like the weights: one SGD step commutes with the permutation."""
    model, x = model.double().train(), torch.randn(4, 3, 16, 16).double()
    spec = find_permutation_spec(model, x)
    p = spec.random(torch.Generator().manual_seed(0))
    other = copy.deepcopy(model)
    other.load_state_dict(spec.apply(model.state_dict(), p))
    momenta = []
    for network in (model, other):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            optimizer.zero_grad()
            network(x).square().sum().backward()
            optimizer.step()
        named = dict(network.named_parameters())
        momenta.append({name: optimizer.state[tensor]["momentum_buffer"] for name, tensor in named.items()})
    torch.testing.assert_close(other.state_dict(), spec.apply(model.state_dict(), p))
    torch.testing.assert_close(momenta[1], spec.apply_to(momenta[0], p))


def test_apply_refuses_what_is_not_the_networks():
    spec = find_permutation_spec(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(1, 3))
    state = {"0.weight": torch.zeros(4, 3), "0.bias": torch.zeros(4), "2.weight": torch.zeros(2, 4)}
    p = spec.identity()
    with pytest.raises(SymmetryError, match=r"lacks \['2.bias'\]"):
        spec.apply(state, p)
    with pytest.raises(SymmetryError, match=r"unknown \['extra'\]"):
        spec.apply({**state, "2.bias": torch.zeros(2), "extra": torch.zeros(1)}, p)
    with pytest.raises(SymmetryError, match=r"'0.bias' has shape \(5,\), the network's has \(4,\)"):
        spec.apply_to({"0.bias": torch.zeros(5)}, p)
    step = torch.tensor(3.0)
    assert spec.apply_to({"step": step}, p)["step"] is step


def test_describe_says_why_axes_are_tied():
    text = find_permutation_spec(ConvNet(nn.BatchNorm2d(8)), torch.randn(1, 3, 8, 8)).describe()
    assert "stem: 8 units" in text
    assert "stem.weight axis 0 (Conv2d stem)" in text
    assert "middle.0.running_var axis 0 (BatchNorm2d middle.0)" in text
    assert "head.weight axis 1 (Conv2d head)" in text


def test_slices_hold_what_each_unit_holds():
    model = Attention("plain")
    spec = find_permutation_spec(model, torch.randn(2, 6, 5))
    values = next(g for g in spec.groups.values() if any(a.tensor == "o.weight" and a.dim == 1 for a in g.axes))
    (axis,) = [a for a in values.axes if a.tensor == "o.weight"]
    assert torch.equal(axis.slices(model.o.weight), model.o.weight.T.reshape(3, 4, 12))
    grouped = nn.Conv2d(8, 12, 3, groups=4)
    spec = find_permutation_spec(ConvNet(grouped, after=12), torch.randn(1, 3, 8, 8))
    (axis,) = [a for g in spec.groups.values() for a in g.axes if a.conv_groups > 1]
    found = axis.slices(grouped.weight)
    assert found.shape == (4, 2, 27)
    assert torch.equal(found[2, 1].view(3, 3, 3), grouped.weight[6:9, 1])


def test_the_same_network_gives_the_same_specification_whatever_its_weights():
    texts = set()
    for seed in range(2):
        torch.manual_seed(seed)
        spec = find_permutation_spec(ResNet20("A"), torch.randn(1, 3, 16, 16))
        texts.add(spec.describe() + str([a.positions.tolist() for g in spec.groups.values() for a in g.axes]))
    assert len(texts) == 1


def test_untraceable_network_is_refused_with_its_line():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            y = self.layer(x)
            return y if y.sum() > 0 else -y

    with pytest.raises(TraceError, match=r"(?s)test_spec\.py.*y\.sum\(\) > 0.*torch\.where"):
        find_permutation_spec(Branching(), torch.randn(2, 3))


def test_example_of_the_wrong_shape_is_refused_with_the_operator():
    with pytest.raises(TraceError, match=r"operator '_0'.*Check that the example is what the network takes"):
        find_permutation_spec(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.randn(2, 5))
