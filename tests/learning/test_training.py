"""Local training: it learns, it is reproducible, it can be continued, and it says when it fails."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from dimat_flwr.data import Classification, TaskError
from dimat_flwr.data.breast_cancer import BreastCancer
from dimat_flwr.data.digits import Digits
from dimat_flwr.data.partitions.iid import Iid
from dimat_flwr.learning import PeerData, TrainingError, evaluate, gradient, train_epochs, train_steps
from dimat_flwr.learning.optimizers.adam import Adam
from dimat_flwr.learning.optimizers.momentum import Momentum
from dimat_flwr.learning.optimizers.sgd import Sgd
from dimat_flwr.models import MLP, DigitsCNN
from tests.data.tokens import Tagger, Tokens
from tests.learning.sources import Pictures

CPU = torch.device("cpu")
TASK = Classification(10)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(seed=0, dropout=0.0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(144, 10)]
    return nn.Sequential(*layers)


def digits(count=60, **settings):
    data = Digits().load()
    source = Pictures(channels=1, mean=(0.3,), std=(0.4,), **settings)
    return PeerData(data.train_inputs, data.train_labels, np.arange(count), source, augmented=True)


def state(model):
    return torch.cat([t.flatten().double() for t in model.state_dict().values()])


@pytest.mark.parametrize("train", [train_epochs, train_steps])
def test_frozen_batchnorm_is_an_affine_layer_of_its_running_statistics(train):
    """Against a network in which BatchNorm is written out with its statistics as constants."""
    model, data = network(dropout=0.3), digits()
    norm = model[1]
    norm.running_mean.uniform_(-0.2, 0.2)
    norm.running_var.uniform_(0.5, 2)
    statistics = copy.deepcopy(norm)

    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = (nn.Parameter(each.detach().clone()) for each in (norm.weight, norm.bias))

        def forward(self, x):
            mean, var = (each[:, None, None] for each in (statistics.running_mean, statistics.running_var))
            return (x - mean) / (var + norm.eps).sqrt() * self.weight[:, None, None] + self.bias[:, None, None]

    plain = nn.Sequential(*(Written() if layer is norm else copy.deepcopy(layer) for layer in model))
    settings = {"epochs": 2, "generator": None} if train is train_epochs else {"first": 1, "steps": 5, "seed": 3}
    for each, frozen in ((model, True), (plain, False)):
        if train is train_epochs:
            settings["generator"] = generator(1)
        optimizer = Momentum(lr=0.05).build(each.parameters())
        train(each, data, optimizer, TASK, batch_size=20, frozen_batchnorm=frozen, **settings)
        assert all(module.training for module in each.modules())  # as it was before
    for name, tensor in norm.named_buffers():
        assert torch.equal(tensor, statistics.get_buffer(name)), name
    for (name, mine), expected in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5, msg=name)
    assert not torch.allclose(norm.weight, statistics.weight)


@pytest.mark.slow
@pytest.mark.parametrize(("peers", "epochs", "least"), [(1, 6, 96.0), (5, 20, 93.0)], ids=["all data", "a fifth"])
def test_digits_are_learned(peers, epochs, least):
    source = Digits()
    part = Iid().split(source.load().train_strata.numpy(), peers, seed=0)[0]
    torch.manual_seed(0)
    model = DigitsCNN(width=1)
    data = PeerData.training(source, part, CPU)
    settings = {"batch_size": 32, "generator": generator()}
    result = train_epochs(model, data, Adam().build(model.parameters()), TASK, epochs=epochs, **settings)
    assert result.samples == epochs * len(part)
    assert result.steps == epochs * data.batches_per_epoch(32)
    assert evaluate(model, PeerData.testing(source, CPU), source.task).accuracy >= least


def test_loss_is_the_mean_of_what_the_steps_saw():
    model, data = network(), digits(50)
    reference, losses = copy.deepcopy(model), []
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.05)
    draws = generator()
    torch.randint(2**62, (), generator=draws)  # the seed of dropout comes first
    for x, y in data.epoch(16, draws):
        loss = nn.functional.cross_entropy(reference(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += [loss.item()] * len(y)
    result = train_epochs(
        model, data, Sgd(lr=0.05).build(model.parameters()), TASK, epochs=1, batch_size=16, generator=generator()
    )
    assert result.loss == pytest.approx(np.mean(losses), rel=1e-6)
    assert (result.samples, result.steps) == (50, 4)
    assert torch.equal(state(model), state(reference))


def test_same_generator_same_weights_also_with_dropout_and_augmentation():
    def trained(seed, disturb):
        model, data = network(dropout=0.5), digits(flip=True, crop_padding=1)
        torch.manual_seed(disturb)  # what else draws from torch's global generator must not matter
        before = torch.get_rng_state()
        train_epochs(
            model, data, Adam().build(model.parameters()), TASK, epochs=2, batch_size=16, generator=generator(seed)
        )
        assert torch.equal(before, torch.get_rng_state())
        return state(model)

    assert torch.equal(trained(5, disturb=1), trained(5, disturb=2))
    assert not torch.equal(trained(5, disturb=1), trained(6, disturb=1))


def test_steps_can_be_continued_from_their_number():
    def trained(*lengths):
        model, first = network(dropout=0.3), 0
        optimizer = Adam().build(model.parameters())
        for steps in lengths:
            data = digits(flip=True)  # a new object, as after a restart
            result = train_steps(model, data, optimizer, TASK, first=first, steps=steps, batch_size=16, seed=9)
            assert result.steps == steps
            first += steps
        return state(model)

    assert torch.equal(trained(11), trained(1, 6, 4))


def test_modes_are_restored():
    model = network()
    model.eval()
    model[1].train()
    before = [m.training for m in model.modules()]
    seen = []
    model.register_forward_hook(lambda *_: seen.append(all(m.training for m in model.modules())))
    train_epochs(model, digits(), Sgd().build(model.parameters()), TASK, epochs=1, batch_size=16, generator=generator())
    assert seen == [True] * 4
    assert [m.training for m in model.modules()] == before


def test_a_single_left_over_image_does_not_stop_batchnorm():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))  # refuses a batch of one
    optimizer = Sgd().build(model.parameters())
    result = train_epochs(model, digits(33), optimizer, TASK, epochs=1, batch_size=16, generator=generator())
    assert (result.steps, result.samples) == (2, 33)


def test_no_epochs_change_nothing():
    model = network()
    before = state(model)
    result = train_epochs(
        model, digits(), Sgd().build(model.parameters()), TASK, epochs=0, batch_size=16, generator=generator()
    )
    assert (result.loss, result.samples, result.steps) == (None, 0, 0)
    assert torch.equal(state(model), before)


def test_bfloat16_trains_and_keeps_float32_weights():
    model, data = DigitsCNN(), digits(300)
    optimizer = Adam(lr=0.01).build(model.parameters())
    settings = {"batch_size": 32, "generator": generator(), "precision": "bfloat16"}
    first = train_epochs(model, data, optimizer, TASK, epochs=1, **settings).loss
    last = train_epochs(model, data, optimizer, TASK, epochs=6, **settings).loss
    assert last < first / 2
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_a_loss_that_is_no_number_names_epoch_and_step():
    class Breaks(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.calls = nn.Linear(64, 10), 0

        def forward(self, x):
            self.calls += 1
            return self.layer(x.flatten(1)) * (float("nan") if self.calls >= 6 else 1.0)

    model = Breaks()
    optimizer = Sgd().build(model.parameters())
    with pytest.raises(TrainingError, match=r"became nan in epoch 2 of 3, at its minibatch 2 of 4; try a lower"):
        train_epochs(model, digits(), optimizer, TASK, epochs=3, batch_size=16, generator=generator())
    model = Breaks()
    with pytest.raises(TrainingError, match=r"became nan in minibatches 10 to 19, at its minibatch 6 of 10"):
        train_steps(model, digits(), Sgd().build(model.parameters()), TASK, first=10, steps=10, batch_size=16, seed=0)


@pytest.mark.parametrize(
    ("source", "model", "least"),
    [
        (BreastCancer(), MLP, 95.0),
        (Tokens(), Tagger, 95.0),
        (Tokens(padded=True), Tagger, 95.0),
        (Tokens(tag_every_place=False, train_samples=2000), lambda: Tagger(tag_every_place=False), 90.0),
    ],
    ids=["table", "tagged tokens", "padded tokens", "classified sequences"],
)
def test_tables_and_tokens_are_learned_like_images(source, model, least):
    torch.manual_seed(0)
    network, data = model(), PeerData.training(source, None, CPU)
    optimizer = Adam(lr=0.01).build(network.parameters())
    steps = {"first": 0, "steps": 300, "batch_size": 32, "seed": 0}
    train_steps(network, data, optimizer, source.task, **steps)
    assert evaluate(network, PeerData.testing(source, CPU), source.task).accuracy >= least


def test_a_network_for_another_task_is_told_so():
    source = Tokens()
    model = Tagger(tag_every_place=False)
    optimizer = Sgd().build(model.parameters())
    with pytest.raises(TaskError, match=r"scores \(8, 4\) do not go with labels \(8, 6\)"):
        train_steps(
            model, PeerData.training(source, None, CPU), optimizer, source.task, first=0, steps=1, batch_size=8, seed=0
        )


def test_the_learning_rate_of_a_training_is_the_callers():
    def trained(lr, built_with=0.01):
        model = network()
        optimizer = Momentum(lr=built_with).build(model.parameters())
        rates = []
        step = optimizer.step
        optimizer.step = lambda: (rates.append(optimizer.param_groups[0]["lr"]), step())
        train_steps(model, digits(), optimizer, TASK, first=5, steps=3, batch_size=16, seed=0, lr=lr)
        return rates, state(model)

    assert trained(None, 0.03)[0] == [0.03] * 3
    assert torch.equal(trained(0.03)[1], trained(None, 0.03)[1])
    assert trained(0.03)[0] == [0.03] * 3


def test_a_correction_sees_weights_and_gradients_and_decides_the_step():
    model, data = network(), digits()
    reference = copy.deepcopy(model)
    seen = []

    def correct(x, g):
        seen.append({name: value.clone() for name, value in x.items()})
        assert set(x) == set(g) == {name for name, _ in model.named_parameters()}
        assert not any(value.requires_grad for value in (*x.values(), *g.values()))
        return {name: g[name] + 0.5 * x[name] for name in g}  # an L2 penalty

    steps = {"first": 0, "steps": 4, "batch_size": 16, "seed": 3}
    train_steps(model, data, Sgd().build(model.parameters()), TASK, **steps, correct=correct)
    train_steps(reference, data, Sgd(weight_decay=0.5).build(reference.parameters()), TASK, **steps)
    torch.testing.assert_close(state(model), state(reference))
    assert not torch.equal(seen[0]["0.weight"], seen[1]["0.weight"])


def test_a_correction_that_loses_a_gradient_is_refused():
    model = network()
    optimizer = Sgd().build(model.parameters())
    steps = {"first": 0, "steps": 1, "batch_size": 16, "seed": 3}
    for correct, said in (
        (lambda x, g: {name: g[name] for name in g if name != "1.bias"}, r"gave none for parameter '1\.bias' \(4,\)"),
        (lambda x, g: {name: g[name].flatten() for name in g}, r"gave one of shape \(36,\) for parameter '0\.weight'"),
    ):
        with pytest.raises(TrainingError, match=said):
            train_steps(model, digits(), optimizer, TASK, **steps, correct=correct)


def test_a_step_along_the_gradient_is_a_training_step():
    model, data = network(dropout=0.0), digits()
    by_hand = copy.deepcopy(model)
    result = train_steps(
        model, data, Sgd(lr=0.1).build(model.parameters()), TASK, first=7, steps=1, batch_size=16, seed=9
    )
    found, loss = gradient(by_hand, TASK, data.batch(7, 16, 9), seed=0)
    with torch.no_grad():
        for name, parameter in by_hand.named_parameters():
            parameter -= 0.1 * found[name]
    assert loss == result.loss
    torch.testing.assert_close(state(model), state(by_hand))


def test_what_computes_the_scores_may_be_handed_over():
    seen, models = [], [network(), network()]

    def forward(inputs):
        seen.append(len(inputs))
        return models[1](inputs)

    for model, given in zip(models, (None, forward), strict=True):
        settings = {"epochs": 1, "batch_size": 20, "generator": generator()}
        train_epochs(model, digits(), Sgd().build(model.parameters()), TASK, **settings, forward=given)
    assert seen == [20, 20, 20]
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)
