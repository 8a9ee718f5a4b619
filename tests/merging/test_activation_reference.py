"""Activation matching against an independent recomputation: forward hooks, whole 2C x 2C matrices, double precision."""

import copy

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from dimat_flwr.merging import match_activations, match_neighbours
from dimat_flwr.models.cifar_resnet import BasicBlock, ResNet20
from tests.merging.networks import images, network, spec_of


def _watched(model):
    """Return group's first weight -> modules whose ReLU'd output shows the group, chosen by hand per architecture."""
    if isinstance(model, ResNet20):
        seen = {"conv1.weight": [model.bn1, *model.layer1]}
        for number, layer in ((2, model.layer2), (3, model.layer3)):
            seen[f"layer{number}.0.conv2.weight"] = list(layer)
        for name, module in model.named_modules():
            if isinstance(module, BasicBlock):
                seen[f"{name}.conv1.weight"] = [module.bn1]
        return seen
    found, features = {}, list(model.features)
    for index, module in enumerate(features):
        if isinstance(module, nn.Conv2d):
            found[f"features.{index}.weight"] = [features[index + 1]]
    return found


def _activations(model, state, batch):
    """Return group's first weight -> one (units, observations) float64 array per place where it is seen."""
    model = copy.deepcopy(model).double()
    model.load_state_dict(state)
    model.eval()
    outputs = {}
    places = _watched(model)
    for modules in places.values():
        for module in modules:
            module.register_forward_hook(lambda m, i, out: outputs.__setitem__(m, out.detach().clamp(min=0)))
    with torch.no_grad():
        model(batch.double())
    return {
        weight: [
            outputs[module].numpy().transpose(1, 0, 2, 3).reshape(outputs[module].shape[1], -1) for module in modules
        ]
        for weight, modules in places.items()
    }


def _statistic(ours, theirs, kind):
    units = len(ours)
    with np.errstate(invalid="ignore", divide="ignore"):
        full = np.corrcoef(ours, theirs) if kind == "correlation" else np.cov(ours, theirs, bias=True)
    return np.nan_to_num(full[:units, units:], nan=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["correlation", "covariance"])
@pytest.mark.parametrize("taps", ["all", "last"])
@pytest.mark.parametrize("family", [pytest.param("resnet20", marks=pytest.mark.slow), "vgg16_bn"])
def test_same_objective_as_whole_matrices_in_double_precision(family, taps, kind, dtype):
    model = network(family, 0, dtype)
    mine, theirs = (copy.deepcopy(network(family, seed, dtype).state_dict()) for seed in (1, 2))
    batches = images(24, 10, dtype=dtype)
    spec = spec_of(family)
    found = match_activations(model, mine, theirs, spec, batches, statistic=kind, taps=taps)

    whole = torch.cat(batches)
    ours, others = (_activations(model, state, whole) for state in (mine, theirs))
    groups = {next(axis.tensor for axis in group.axes if axis.dim == 0): group.name for group in spec.groups.values()}
    assert groups.keys() == ours.keys()
    for weight, name in groups.items():
        places = list(zip(ours[weight], others[weight], strict=True))
        scores = sum(_statistic(a, b, kind) for a, b in (places if taps == "all" else places[-1:]))
        rows, best = linear_sum_assignment(scores, maximize=True)
        assert scores[rows, found[name].numpy()].sum() == pytest.approx(scores[rows, best].sum(), rel=1e-9)


def test_neighbours_matched_together_are_matched_as_alone():
    model = network("resnet20")
    mine, *others = (copy.deepcopy(network("resnet20", seed).state_dict()) for seed in (0, 1, 2))
    batches = images(12, 6)
    spec = spec_of("resnet20")
    together = match_neighbours(model, mine, others, spec, batches)
    assert together == [match_activations(model, mine, theirs, spec, batches) for theirs in others]
    assert together[0] != together[1]


def test_matching_is_deterministic_and_leaves_everything_as_it_was():
    model = network("resnet20").train()
    mine, theirs = (copy.deepcopy(network("resnet20", seed).state_dict()) for seed in (0, 1))
    before = copy.deepcopy([model.state_dict(), mine, theirs])
    batches = images(8, 4)
    spec = spec_of("resnet20")
    first = match_activations(model, mine, theirs, spec, batches)
    assert first == match_activations(model, mine, theirs, spec, batches)
    for then, now in zip(before, [model.state_dict(), mine, theirs], strict=True):
        assert all(torch.equal(then[name], tensor) for name, tensor in now.items())
    assert model.training


def test_early_stop_reads_no_more_than_it_needs():
    model = network("resnet20")
    mine = model.state_dict()
    spec = spec_of("resnet20")
    theirs = spec.apply(mine, spec.random(torch.Generator().manual_seed(0)))
    read = []

    def batches():
        for batch in images(64, 8):
            read.append(len(batch))
            yield batch

    stopped = match_activations(model, mine, theirs, spec, batches(), early_stop=0)
    # the first batch finds the planted order, the second confirms it
    assert len(read) <= 3
    assert stopped == match_activations(model, mine, theirs, spec, images(64, 8))


def test_stickiness_keeps_a_network_that_is_in_my_order_already():
    model = network("resnet20")
    mine = copy.deepcopy(model.state_dict())
    noisy = {
        name: tensor + 0.4 * tensor.std() * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1))
        if tensor.ndim == 4
        else tensor
        for name, tensor in mine.items()
    }
    batches = images(16, 8)
    spec = spec_of("resnet20")
    assert not match_activations(model, mine, noisy, spec, batches).is_identity()
    sticky = match_activations(model, mine, noisy, spec, batches, stickiness=0.2)
    moved = [name for name, order in sticky.items() if not torch.equal(order, torch.arange(len(order)))]
    assert not moved
