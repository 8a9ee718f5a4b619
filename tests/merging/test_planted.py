"""A network whose units were shuffled is put back in order exactly, by its activations and by its weights."""

import copy

import pytest
import torch

from dimat_flwr.merging import align, match_activations, match_weights, merge_with_report, share_moved
from tests.merging.networks import FAMILIES, images, network, spec_of

_SLOW = ("resnet50_short", "resnext_short", "mobilenet_v3")
EACH = [pytest.param(name, marks=pytest.mark.slow) if name in _SLOW else name for name in FAMILIES]


def _planted(family, seed=0):
    model = network(family, seed)
    mine = copy.deepcopy(model.state_dict())
    spec = spec_of(family)
    planted = spec.random(torch.Generator().manual_seed(5))
    return model, mine, spec, planted, spec.apply(mine, planted)


@pytest.mark.parametrize("statistic", ["correlation", pytest.param("covariance", marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", EACH)
def test_activation_matching_undoes_a_planted_permutation(family, statistic):
    model, mine, spec, planted, theirs = _planted(family)
    found = match_activations(model, mine, theirs, spec, images(32, 16), statistic=statistic)
    _assert_undone(spec, mine, planted, theirs, found)


@pytest.mark.parametrize("family", EACH)
def test_weight_matching_undoes_a_planted_permutation(family):
    model, mine, spec, planted, theirs = _planted(family)
    init = match_activations(model, mine, theirs, spec, images(4, 4)) if family == "vit" else None
    found = match_weights(mine, theirs, spec, generator=torch.Generator().manual_seed(1), init=init)
    _assert_undone(spec, mine, planted, theirs, found)


def _assert_undone(spec, mine, planted, theirs, found):
    assert not planted.is_identity()
    aligned = spec.apply(theirs, found)
    wrong = [name for name, tensor in mine.items() if not torch.equal(tensor, aligned[name])]
    assert not wrong
    assert planted.compose(found).is_identity()


def test_last_taps_alone_undo_a_planted_permutation():
    model, mine, spec, planted, theirs = _planted("resnet20")
    found = match_activations(model, mine, theirs, spec, images(32, 16), taps="last")
    _assert_undone(spec, mine, planted, theirs, found)


@pytest.mark.parametrize(
    "method", [pytest.param("weight_from_activation", marks=pytest.mark.slow), "activation", "weight"]
)
def test_merging_with_shuffled_copies_of_myself_changes_nothing(method):
    model, mine, spec, _, theirs = _planted("resnet20")
    other = spec.apply(mine, spec.random(torch.Generator().manual_seed(6)))
    merged = merge_with_report(
        model,
        mine,
        [theirs, other],
        [0.25, 0.25, 0.5],
        spec=spec,
        batches=images(32, 16),
        method=method,
        generator=torch.Generator().manual_seed(0),
        batchnorm="average",
    )
    for name, tensor in mine.items():
        torch.testing.assert_close(merged.state[name], tensor)
    assert merged.moved == tuple(share_moved(p) for p in merged.permutations)
    assert min(merged.moved) > 0.8


@pytest.mark.parametrize(
    "method", [pytest.param("weight_from_activation", marks=pytest.mark.slow), "activation", "weight", "none"]
)
def test_align_keeps_the_function_and_shares_no_memory(method):
    model = network("resnet20", 0)
    theirs = copy.deepcopy(network("resnet20", 1).state_dict())
    before = copy.deepcopy(theirs)
    x = images(4, 4)[0]
    spec = spec_of("resnet20")
    aligned, permutation = align(
        model, model.state_dict(), theirs, spec, [x], method=method, generator=torch.Generator().manual_seed(0)
    )
    assert permutation.is_identity() == (method == "none")
    assert all(torch.equal(before[name], tensor) for name, tensor in theirs.items())
    other = copy.deepcopy(model)
    other.load_state_dict(theirs)
    expected = other(x)
    other.load_state_dict(aligned)
    torch.testing.assert_close(other(x), expected, rtol=1e-4, atol=1e-5)
    for tensor in aligned.values():
        tensor.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in theirs.items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", ["activation", "weight"])
@pytest.mark.parametrize("family", ["resnet20", "vit"])
def test_everything_runs_on_the_models_device(family, method):
    model, mine, spec, _, theirs = _planted(family)
    model.cuda()
    merged = merge_with_report(
        model,
        mine,
        [theirs],
        [0.5, 0.5],
        spec=spec,
        batches=images(32, 16),
        method=method,
        generator=torch.Generator().manual_seed(0),
        batchnorm="average",
    )
    for name, tensor in mine.items():
        assert merged.state[name].is_cuda
        torch.testing.assert_close(merged.state[name].cpu(), tensor)
