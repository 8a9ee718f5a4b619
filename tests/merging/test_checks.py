import pytest
import torch
from torch import nn

from dimat_flwr.merging import MergeError, merge
from dimat_flwr.merging.check import check_row, check_same_architecture


def _network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def _without(state, name):
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: _without(s, "0.weight"), "neighbour 1 has another architecture.*lacks 0.weight"),
        (lambda s: {**s, "4.weight": torch.zeros(2)}, "it has 4.weight, which mine has not"),
        (lambda s: {**s, "0.weight": torch.zeros(4, 5)}, r"0.weight \(4, 5\) instead of \(4, 3\)"),
        (lambda s: {**s, "0.bias": torch.zeros(4, dtype=torch.int64)}, "0.bias torch.int64 instead of torch.float32"),
        (lambda s: {**s, "3.bias": torch.tensor([1.0, torch.nan])}, "neighbour 1 holds NaN or infinite numbers in 3.b"),
        (lambda s: {**s, "0.bias": torch.full((4,), torch.inf)}, "neighbour 1 holds NaN or infinite numbers in 0.bias"),
    ],
)
@pytest.mark.parametrize("as_iterator", [False, True])
def test_a_neighbour_that_does_not_fit_is_named_with_its_tensor(change, message, as_iterator):
    model = _network()
    neighbours = [change(_network(1).state_dict())]
    with pytest.raises(MergeError, match=message):
        merge(
            model,
            model.state_dict(),
            iter(neighbours) if as_iterator else neighbours,
            [0.5, 0.5],
            method="none",
            batches=[torch.randn(4, 3)],
        )


def test_my_own_broken_weights_are_named():
    model = _network()
    mine = {**model.state_dict(), "0.bias": torch.full((4,), torch.nan)}
    with pytest.raises(MergeError, match=r"my model holds NaN .* in 0.bias"):
        merge(model, mine, [model.state_dict()], [0.5, 0.5], method="none", batches=[torch.randn(4, 3)])


@pytest.mark.parametrize(
    ("weights", "as_iterator", "message"),
    [
        ([0.5, 0.5], False, "2 mixing weights for 2 neighbours: give 3, mine first"),
        ([0.5, 0.25, 0.15, 0.1], False, "4 mixing weights for 2 neighbours"),
        ([0.5, 0.5], True, "more neighbours than weights"),
        ([0.5, 0.25, 0.15, 0.1], True, "4 mixing weights for 2 neighbours"),
        ([0.5, 0.25, 0.3], False, "sum to 1.05"),
        ([float("nan"), 0.5, 0.5], False, "finite"),
    ],
)
def test_wrong_weights_are_refused(weights, as_iterator, message):
    model = _network()
    neighbours = [_network(seed).state_dict() for seed in (1, 2)]
    with pytest.raises(MergeError, match=message):
        merge(
            model,
            model.state_dict(),
            iter(neighbours) if as_iterator else neighbours,
            weights,
            method="none",
            batchnorm="average",
        )


def test_thirds_sum_to_one():
    check_row([1 / 3] * 3, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batches": []}, "no data for the recalibration of BatchNorm"),
        ({}, "no data for the recalibration of BatchNorm"),
        ({"method": "activation", "batches": [torch.randn(4, 3)]}, "need spec="),
        ({"batches": [torch.randn(4, 3)], "recalibrate_on": []}, "no data for the recalibration of BatchNorm"),
    ],
)
def test_what_is_missing_is_told(options, message):
    model = _network()
    with pytest.raises(MergeError, match=message):
        merge(model, model.state_dict(), [_network(1).state_dict()], [0.5, 0.5], **{"method": "none", **options})


def test_long_lists_of_names_are_cut():
    mine = {f"layer{index}": torch.zeros(1) for index in range(9)}
    with pytest.raises(MergeError, match="layer4 and 4 more") as refused:
        check_same_architecture(mine, {}, "neighbour 1")
    assert "layer5" not in str(refused.value)
