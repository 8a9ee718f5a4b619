"""Gradients without a step, against torch's backward."""

import copy

import pytest
import torch
from torch import nn

from dimat_flwr.learning import TrainingError, gradient


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
        self.drop, self.head = nn.Dropout(0.4), nn.Linear(3, 5)
        self.unused = nn.Parameter(torch.ones(2))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.bn(self.conv(x))).mean((2, 3)))) * self.frozen


def network(seed):
    torch.manual_seed(seed)
    return Net()


def batch():
    draws = torch.Generator().manual_seed(0)
    return torch.randn(6, 1, 7, 7, generator=draws), torch.randint(0, 5, (6,), generator=draws)


def by_backward(model, seed):
    model = copy.deepcopy(model).train()
    torch.manual_seed(seed)
    loss = nn.functional.cross_entropy(model(batch()[0]), batch()[1])
    loss.backward()
    gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()}
    del gradients["frozen"]
    return gradients, loss.item(), model


def assert_same(ours, theirs):
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name])
        assert not value.requires_grad


def test_own_gradient_leaves_the_model_as_it_is():
    model = network(1).eval()
    before = copy.deepcopy(model.state_dict())
    ours, loss = gradient(model, batch(), seed=4)
    theirs, expected, _ = by_backward(model, seed=4)
    assert_same(ours, theirs)
    assert loss == pytest.approx(expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not model.training


def test_statistics_are_updated_on_request():
    model = network(1)
    _, _, reference = by_backward(model, seed=0)
    gradient(model, batch(), update_statistics=True)
    torch.testing.assert_close(model.bn.running_mean, reference.bn.running_mean)
    assert model.bn.num_batches_tracked == 1


def test_gradient_at_a_neighbours_weights():
    mine, neighbour = network(1), network(2)
    before, given = copy.deepcopy(mine.state_dict()), copy.deepcopy(neighbour.state_dict())
    ours, loss = gradient(mine, batch(), weights=given, seed=3)
    theirs, expected, _ = by_backward(neighbour, seed=3)
    assert_same(ours, theirs)
    assert loss == pytest.approx(expected)
    assert all(torch.equal(value, before[name]) for name, value in mine.state_dict().items())
    assert all(torch.equal(value, neighbour.state_dict()[name]) for name, value in given.items())
    with pytest.raises(ValueError, match="weights=None"):
        gradient(mine, batch(), weights=given, update_statistics=True)


def test_a_loss_that_is_no_number_is_refused():
    model = network(1)
    with torch.no_grad():
        model.head.weight[0, 0] = float("nan")
    with pytest.raises(TrainingError, match="is nan; try a lower learning rate"):
        gradient(model, batch())
