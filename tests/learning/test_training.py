"""Local training: it learns, it is reproducible, it can be continued, and it says when it fails."""

import copy
import time

import numpy as np
import pytest
import torch
from torch import nn

from dimat_flwr.data.digits import Digits
from dimat_flwr.data.partitions.iid import Iid
from dimat_flwr.learning import PeerData, TrainingError, evaluate, train, train_steps
from dimat_flwr.learning.optimizers.adam import Adam
from dimat_flwr.learning.optimizers.sgd import Sgd
from dimat_flwr.models import DigitsCNN

CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(seed=0, dropout=0.0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(144, 10)]
    return nn.Sequential(*layers)


def digits(count=60, **settings):
    data = Digits().load()
    plain = {"mean": (0.3,), "std": (0.4,)}
    return PeerData(data.train_images, data.train_labels, np.arange(count), **plain, **settings)


def state(model):
    return torch.cat([t.flatten().double() for t in model.state_dict().values()])


@pytest.mark.parametrize(("peers", "epochs", "least"), [(1, 10, 96.0), (5, 20, 93.0)], ids=["all data", "a fifth"])
def test_digits_are_learned(peers, epochs, least):
    source = Digits()
    part = Iid().split(source.load().train_labels.numpy(), peers, seed=0)[0]
    torch.manual_seed(0)
    model = DigitsCNN()
    data = PeerData.training(source, part, CPU)
    settings = {"batch_size": 32, "generator": generator()}
    result = train(model, data, Adam().build(model.parameters()), epochs=epochs, **settings)
    assert result.samples == epochs * len(part)
    assert result.steps == epochs * data.batches_per_epoch(32)
    assert evaluate(model, PeerData.testing(source, CPU), num_classes=10).accuracy >= least


def test_two_epochs_on_a_fifth_are_quick():
    model, data = DigitsCNN(), digits(288)
    optimizer = Adam().build(model.parameters())
    train(model, data, optimizer, epochs=1, batch_size=32, generator=generator())
    start = time.perf_counter()
    train(model, data, optimizer, epochs=2, batch_size=32, generator=generator())
    assert time.perf_counter() - start < 2.0  # 0.07 s on an idle core


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
    result = train(model, data, Sgd(lr=0.05).build(model.parameters()), epochs=1, batch_size=16, generator=generator())
    assert result.loss == pytest.approx(np.mean(losses), rel=1e-6)
    assert (result.samples, result.steps) == (50, 4)
    assert torch.equal(state(model), state(reference))


def test_same_generator_same_weights_also_with_dropout_and_augmentation():
    def trained(seed, disturb):
        model, data = network(dropout=0.5), digits(flip=True, crop_padding=1)
        torch.manual_seed(disturb)  # what else draws from torch's global generator must not matter
        before = torch.get_rng_state()
        train(model, data, Adam().build(model.parameters()), epochs=2, batch_size=16, generator=generator(seed))
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
            result = train_steps(model, data, optimizer, first=first, steps=steps, batch_size=16, seed=9)
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
    train(model, digits(), Sgd().build(model.parameters()), epochs=1, batch_size=16, generator=generator())
    assert seen == [True] * 4
    assert [m.training for m in model.modules()] == before


def test_a_single_left_over_image_does_not_stop_batchnorm():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))  # refuses a batch of one
    optimizer = Sgd().build(model.parameters())
    result = train(model, digits(33), optimizer, epochs=1, batch_size=16, generator=generator())
    assert (result.steps, result.samples) == (2, 33)


def test_no_epochs_change_nothing():
    model = network()
    before = state(model)
    result = train(model, digits(), Sgd().build(model.parameters()), epochs=0, batch_size=16, generator=generator())
    assert (result.loss, result.samples, result.steps) == (None, 0, 0)
    assert torch.equal(state(model), before)


def test_bfloat16_trains_and_keeps_float32_weights():
    model, data = DigitsCNN(), digits(300)
    optimizer = Adam(lr=0.01).build(model.parameters())
    settings = {"batch_size": 32, "generator": generator(), "precision": "bfloat16"}
    first = train(model, data, optimizer, epochs=1, **settings).loss
    last = train(model, data, optimizer, epochs=6, **settings).loss
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
        train(model, digits(), optimizer, epochs=3, batch_size=16, generator=generator())
    model = Breaks()
    with pytest.raises(TrainingError, match=r"became nan in minibatches 10 to 19, at its minibatch 6 of 10"):
        train_steps(model, digits(), Sgd().build(model.parameters()), first=10, steps=10, batch_size=16, seed=0)
