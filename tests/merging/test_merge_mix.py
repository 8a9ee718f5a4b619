"""Mixing, BatchNorm policies and streaming; alignment is off here and has its own tests."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from dimat_flwr.merging import merge, merge_with_report, recalibrate_batchnorm


def _network(seed=0):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    network[1].running_mean.normal_()
    network[1].running_var.uniform_(0.5, 2)
    network[1].num_batches_tracked.fill_(10 + seed)
    return network


@pytest.fixture
def networks():
    return [_network(seed) for seed in range(3)]


@pytest.fixture
def batches():
    return [torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(number)) for number in range(4)]


WEIGHTS = [0.5, 0.2, 0.3]


def _mean(networks, name):
    return sum(w * network.state_dict()[name].double() for w, network in zip(WEIGHTS, networks, strict=True)).float()


def _merge(networks, batches, **options):
    mine, *others = [network.state_dict() for network in networks]
    return merge(networks[0], mine, others, WEIGHTS, method="none", batches=batches, **options)


def test_weights_are_mixed_and_counts_stay_mine(networks, batches):
    state = _merge(networks, batches, batchnorm="average")
    for name, tensor in state.items():
        if name == "1.num_batches_tracked":
            assert tensor == 10
        else:
            torch.testing.assert_close(tensor, _mean(networks, name))
    assert list(state) == list(networks[0].state_dict())


def test_keep_leaves_running_statistics_mine(networks, batches):
    state = _merge(networks, batches, batchnorm="keep")
    assert torch.equal(state["1.running_mean"], networks[0][1].running_mean)
    assert torch.equal(state["1.running_var"], networks[0][1].running_var)
    torch.testing.assert_close(state["1.weight"], _mean(networks, "1.weight"))


@pytest.mark.parametrize("read", [None, [0, 2], [0, 1, 2, 3]])
def test_recalibrate_measures_the_mix_on_a_quarter_of_my_batches_or_on_those_named(networks, batches, read):
    chosen = None if read is None else [batches[number] for number in read]
    state = _merge(networks, batches, recalibrate_on=chosen)
    expected = copy.deepcopy(networks[0])
    expected.load_state_dict({name: _mean(networks, name) for name in expected.state_dict()})
    recalibrate_batchnorm(expected, [batches[number] for number in (read or [0])])
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(state[name], tensor)


def test_nothing_handed_in_is_changed_or_shared(networks, batches):
    before = [copy.deepcopy(network.state_dict()) for network in networks]
    state = _merge(networks, batches)
    for tensor in state.values():
        tensor.zero_()
    for network, then in zip(networks, before, strict=True):
        assert all(torch.equal(then[name], tensor) for name, tensor in network.state_dict().items())
        assert network.training
    assert not any(tensor.requires_grad for tensor in state.values())


@pytest.mark.slow
def test_streamed_neighbours_give_the_same_and_only_one_is_held(networks, batches):
    expected = _merge(networks, batches)
    alive = []

    class Weights(dict):
        """A dict that can be watched."""

    def load(number):
        gc.collect()
        assert sum(reference() is not None for reference in alive) == 0, "the neighbour before is still in memory"
        state = Weights(copy.deepcopy(networks[number].state_dict()))
        alive.append(weakref.ref(state))
        return state

    mine = networks[0].state_dict()
    functions = [lambda number=number: load(number) for number in (1, 2)]
    streamed = merge(networks[0], mine, functions, WEIGHTS, method="none", batches=batches)
    generated = merge(
        networks[0], mine, (network.state_dict() for network in networks[1:]), WEIGHTS, method="none", batches=batches
    )
    assert len(alive) == 2
    for name, tensor in expected.items():
        assert torch.equal(streamed[name], tensor)
        assert torch.equal(generated[name], tensor)


def test_without_neighbours_my_weights_come_back_recalibrated(networks, batches):
    merged = merge_with_report(networks[0], networks[0].state_dict(), [], [1.0], method="none", batches=batches)
    assert torch.equal(merged.state["0.weight"], networks[0][0].weight)
    assert not torch.equal(merged.state["1.running_mean"], networks[0][1].running_mean)
    assert merged.permutations == merged.moved == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_are_kept_and_half_precision_is_summed_in_single(dtype):
    # in half precision alone, 1 + 2048 * (small share) rounds at every addition
    model = nn.Linear(4, 4, bias=False).to(dtype)
    states = [{"weight": torch.full((4, 4), 1 + 0.001 * number).to(dtype)} for number in range(8)]
    state = merge(model, states[0], states[1:], [1 / 8] * 8, method="none")
    exact = sum(state["weight"].double() for state in states) / 8
    assert state["weight"].dtype == dtype
    torch.testing.assert_close(state["weight"], exact.to(dtype), rtol=torch.finfo(dtype).eps, atol=0)


def test_tied_weights_survive_recalibration(batches):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
            self.second.weight = self.first.weight
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.second(self.norm(self.first(x)))

    networks = [Tied(), Tied()]
    mine, theirs = (network.state_dict() for network in networks)
    state = merge(networks[0], mine, [theirs], [0.5, 0.5], method="none", batches=batches)
    assert torch.equal(state["first.weight"], state["second.weight"])
    torch.testing.assert_close(state["first.weight"], (mine["first.weight"] + theirs["first.weight"]) / 2)
    assert networks[0].second.weight is networks[0].first.weight
