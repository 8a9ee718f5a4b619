import copy

import pytest
import torch

from dimat_flwr.merging import MergeError, merge_optimizer
from dimat_flwr.symmetry import find_permutation_spec
from tests.merging.networks import images, network


def _trained_state(model, seed):
    """Take two steps of Adam and return its tensors by kind and parameter name."""
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(2):
        model(images(4, 4, seed + step)[0]).square().mean().backward()
        optimizer.step()
    return {
        kind: {name: optimizer.state[parameter][kind] for name, parameter in model.named_parameters()}
        for kind in ("exp_avg", "exp_avg_sq")
    }


def test_momentum_moves_with_its_weights_and_is_mixed():
    model = network("resnet20")
    spec = find_permutation_spec(model, images(2, 2)[0])
    mine = _trained_state(copy.deepcopy(model), 0)
    planted = spec.random(torch.Generator().manual_seed(0))
    theirs = {kind: spec.apply_to(tensors, planted) for kind, tensors in mine.items()}
    merged = merge_optimizer(mine, [theirs], [0.3, 0.7], spec, [planted.inverse()])
    for kind, tensors in mine.items():
        for name, tensor in tensors.items():
            torch.testing.assert_close(merged[kind][name], tensor)


def test_what_does_not_fit_is_refused():
    model = network("resnet20")
    spec = find_permutation_spec(model, images(2, 2)[0])
    mine = _trained_state(model, 0)
    with pytest.raises(MergeError, match="'exp_avg_sq' in the optimizer of neighbour 1"):
        merge_optimizer(mine, [{"exp_avg": mine["exp_avg"]}], [0.5, 0.5], spec, [spec.identity()])
    with pytest.raises(MergeError, match="0 permutations for 1 neighbours"):
        merge_optimizer(mine, [mine], [0.5, 0.5], spec, [])
