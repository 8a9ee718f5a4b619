import copy

import pytest
import torch
from torch import nn

from dimat_flwr.merging import MergeError, recalibrate_batchnorm
from dimat_flwr.merging.batchnorm import inputs_on
from tests.cuda_stand_in import standing_in_for_cuda


def _network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4)
    )


def _batches(sizes=(6, 6, 4)):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 3, 8, 8, generator=generator) for size in sizes]


def test_statistics_are_the_cumulative_average_of_the_batches():
    model, batches = _network(), _batches()
    model[1].running_mean.fill_(9.0)  # stale statistics must leave no trace
    recalibrate_batchnorm(model, batches)
    means, variances, deep = [], [], []
    for batch in batches:
        x = model[0](batch).double()
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=1)
        means.append(mean)
        variances.append(var)
        normal = (x - mean[:, None, None]) / (x.var((0, 2, 3), correction=0) + 1e-5).sqrt()[:, None, None]
        deep.append(model[4](torch.relu(normal).float()).mean((0, 2, 3)))
    torch.testing.assert_close(model[1].running_mean, torch.stack(means).mean(0).float())
    torch.testing.assert_close(model[1].running_var, torch.stack(variances).mean(0).float())
    torch.testing.assert_close(model[5].running_mean, torch.stack(deep).mean(0), rtol=1e-4, atol=1e-6)
    assert model[1].num_batches_tracked == 3


@pytest.mark.parametrize("training", [True, False])
def test_modes_momenta_gradients_and_weights_are_as_before(training):
    model = _network().train(training)
    model[3].train(not training)
    model[1].momentum = 0.3
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    recalibrate_batchnorm(model, _batches())
    assert [module.training for module in model] == [training, training, training, not training, training, training]
    assert model[1].momentum == 0.3
    assert model[5].momentum == 0.1
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())


def test_network_without_batchnorm_is_left_alone_and_no_batch_is_read():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(), nn.BatchNorm1d(3, track_running_stats=False))
    before = copy.deepcopy(model.state_dict())

    def unread():
        raise AssertionError("a batch was read")
        yield

    recalibrate_batchnorm(model, unread())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "no data for the recalibration of BatchNorm"),
        ([*_batches()[:1], torch.full((2, 3, 8, 8), float("nan"))], "NaN or infinite"),
        ([("images", "labels")], "without labels"),
        ([torch.zeros(0, 3, 8, 8)], "without samples"),
    ],
)
def test_failure_is_told_and_leaves_the_statistics(batches, message):
    model = _network()
    model[1].running_mean.fill_(9.0)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(MergeError, match=message):
        recalibrate_batchnorm(model, batches)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_batch_from_a_gpu_is_waited_for(monkeypatch):
    with standing_in_for_cuda(monkeypatch):
        batch = torch.ones(2, 3).cuda()
        (found,) = inputs_on(batch, torch.device("cpu"))
        assert (batch.device.type, found.device.type) == ("cuda", "cpu")
        assert torch.equal(found, torch.ones(2, 3))
