"""The check must not lie: wrong specifications are caught, whatever is wrong with them."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dimat_flwr.symmetry import PermutationSpec, find_permutation_spec, verify
from tests.symmetry.networks import Attention, ConvNet, ResNet20

IMAGES = torch.randn(2, 3, 16, 16)


def _without_axis(spec: PermutationSpec, group: str, number: int) -> PermutationSpec:
    axes = spec.groups[group].axes
    changed = replace(spec.groups[group], axes=axes[:number] + axes[number + 1 :])
    return replace(spec, groups={**spec.groups, group: changed})


def test_every_single_forgotten_axis_is_caught():
    """Also running statistics, biases and affine parameters, which are 0 and 1 in a fresh network."""
    model = ConvNet(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1, groups=2), nn.GroupNorm(2, 8)).double()
    x = IMAGES.double()
    spec = find_permutation_spec(model, x)
    assert verify(model, spec, x) <= 1e-9
    axes = [(name, number) for name, group in spec.groups.items() for number in range(len(group.axes))]
    assert len(axes) > 10
    for name, number in axes:
        assert verify(model, _without_axis(spec, name, number), x) > 1e-6, (name, number)


def test_groups_that_should_be_one_are_caught():
    model = ResNet20("B").double()
    spec = find_permutation_spec(model, IMAGES.double())
    stream = spec.groups["conv1"]
    first = replace(stream, axes=stream.axes[:6])
    second = replace(stream, name="second", axes=stream.axes[6:])
    wrong = replace(spec, groups={**spec.groups, "conv1": first, "second": second})
    assert verify(model, wrong, IMAGES.double()) > 1e-3


def test_units_moved_across_heads_are_caught():
    model, x = Attention("plain").double(), torch.randn(2, 6, 5).double()
    spec = find_permutation_spec(model, x)
    groups = {}
    for name, group in spec.groups.items():
        if group.blocks is None:
            groups[name] = group
            continue
        axes = tuple(replace(a, positions=a.positions.flatten(1)) for a in group.axes)
        groups[name] = replace(group, parent=None, blocks=None, units=group.blocks * group.units, axes=axes)
    assert verify(model, replace(spec, groups=groups), x) > 1e-3


def test_permuting_the_class_scores_is_caught():
    model = ConvNet().double()
    spec = find_permutation_spec(model, IMAGES.double())
    head = replace(spec.groups["stem"], name="head", units=4, axes=tuple(
        replace(a, tensor=t, dim=0, positions=torch.arange(4)[None])
        for a, t in zip(spec.groups["stem"].axes, ("head.weight", "head.bias"), strict=False)
    ))  # fmt: skip
    assert verify(model, replace(spec, groups={**spec.groups, "head": head}), IMAGES.double()) > 1e-3


@pytest.mark.parametrize("what", ["layer scale", "zero gamma"])
def test_what_hides_behind_tiny_initial_values_is_caught(what):
    class Hidden(ConvNet):
        def __init__(self):
            super().__init__(nn.Conv2d(8, 8, 1))
            self.gamma = nn.Parameter(torch.full((8, 1, 1), 1e-12 if what == "layer scale" else 0.0))

        def forward(self, x):
            x = self.stem(x)
            return self.head(x + self.gamma * self.middle(x)).mean((2, 3))

    model = Hidden().double()
    spec = find_permutation_spec(model, IMAGES.double())
    number = next(i for i, a in enumerate(spec.groups["stem"].axes) if a.tensor == "middle.0.weight")
    assert verify(model, _without_axis(spec, "stem", number), IMAGES.double()) > 1e-3


def test_a_wrong_auxiliary_classifier_is_caught_though_it_only_runs_in_training():
    class WithAuxiliary(ConvNet):
        def __init__(self):
            super().__init__()
            self.auxiliary = nn.Conv2d(8, 5, 1)

        def forward(self, x):
            y = self.stem(x)
            return (self.head(y), self.auxiliary(y)) if self.training else self.head(y)

    model = WithAuxiliary().double()
    spec = find_permutation_spec(model, IMAGES.double())
    assert verify(model, spec, IMAGES.double()) <= 1e-9
    number = next(i for i, a in enumerate(spec.groups["stem"].axes) if a.tensor == "auxiliary.weight")
    assert verify(model, _without_axis(spec, "stem", number), IMAGES.double()) > 1e-3


def test_verify_leaves_the_model_alone():
    model = ResNet20("A").train()
    model.bn1.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    verify(model, find_permutation_spec(model, IMAGES), IMAGES)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training
    assert not model.bn1.training
    assert model.bn1.momentum == 0.1
