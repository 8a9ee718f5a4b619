"""Gradients without a step, against torch's backward."""

import copy

import pytest
import torch
from torch import nn

from dimat_flwr.data import Classification
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


TASK = Classification(5)


def test_own_gradient_is_backwards_and_updates_batchnorm():
    model = network(1).eval()
    before = copy.deepcopy(model.state_dict())
    theirs, expected, reference = by_backward(model, seed=4)
    ours, loss = gradient(model, TASK, batch(), seed=4)
    assert_same(ours, theirs)
    assert loss == pytest.approx(expected)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    for name, buffer in reference.named_buffers():
        torch.testing.assert_close(model.get_buffer(name), buffer)
        assert not torch.equal(buffer, before[name])
    assert all(p.grad is None for p in model.parameters())
    assert not any(module.training for module in model.modules())


def test_gradient_at_a_neighbours_weights_changes_neither():
    mine, neighbour = network(1), network(2)
    before, given = copy.deepcopy(mine.state_dict()), copy.deepcopy(neighbour.state_dict())
    ours, loss = gradient(mine, TASK, batch(), at=given, seed=3)
    theirs, expected, _ = by_backward(neighbour, seed=3)
    assert_same(ours, theirs)
    assert loss == pytest.approx(expected)
    assert all(torch.equal(value, before[name]) for name, value in mine.state_dict().items())
    assert all(torch.equal(value, neighbour.state_dict()[name]) for name, value in given.items())
    assert not any(value.requires_grad for value in given.values())


@pytest.mark.parametrize("at", ["own", "neighbour"])
def test_frozen_batchnorm_takes_its_running_statistics_and_leaves_them(at):
    model, neighbour = network(0), network(1)
    neighbour.bn.running_mean.uniform_(-0.5, 0.5)
    where = model if at == "own" else neighbour
    state = copy.deepcopy(model.state_dict())
    expected = copy.deepcopy(where).train()
    expected.bn.eval()
    torch.manual_seed(7)
    nn.functional.cross_entropy(expected(batch()[0]), batch()[1]).backward()
    given = None if at == "own" else neighbour.state_dict()
    found, _ = gradient(model, TASK, batch(), at=given, seed=7, frozen_batchnorm=True)
    for name, tensor in expected.named_parameters():
        if tensor.grad is not None:
            torch.testing.assert_close(found[name], tensor.grad, msg=name)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_what_is_not_given_is_the_models_own():
    mine, neighbour = network(1), network(2)
    head = {name: p for name, p in neighbour.state_dict().items() if name.startswith("head")}
    mixed = copy.deepcopy(mine)
    mixed.load_state_dict(head, strict=False)
    ours, _ = gradient(mine, TASK, batch(), at=head, seed=3)
    assert_same(ours, by_backward(mixed, seed=3)[0])


def test_shared_weights_have_one_gradient():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, x):
            return self.head(self.embedding(x))

    torch.manual_seed(0)
    model, tokens = Tied(), torch.tensor([[0, 1, 4], [2, 2, 3]])
    ours, _ = gradient(model, TASK, (tokens, tokens), at=model.state_dict(), seed=0)
    theirs, _ = gradient(model, TASK, (tokens, tokens), seed=0)
    assert set(ours) == {"embedding.weight"}
    assert_same(ours, theirs)


def test_randomness_outside_is_left_alone():
    model = network(1)
    torch.manual_seed(8)
    expected = torch.rand(3)
    torch.manual_seed(8)
    gradient(model, TASK, batch(), seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_loss_that_is_no_number_is_refused():
    model = network(1)
    with torch.no_grad():
        model.head.weight[0, 0] = float("nan")
    with pytest.raises(TrainingError, match=r"is nan; try a lower optimizer\.lr"):
        gradient(model, TASK, batch(), seed=0)
