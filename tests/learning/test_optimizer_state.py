"""Keeping an optimizer's state: training in pieces equals training in one go."""

import pytest
import torch

from dimat_flwr.data.digits import Digits
from dimat_flwr.learning import PeerData, TrainingError, restore_optimizer, save_optimizer, train_steps
from dimat_flwr.learning.optimizers.adam import Adam
from dimat_flwr.learning.optimizers.adamw import AdamW
from dimat_flwr.learning.optimizers.amsgrad import AmsGrad
from dimat_flwr.learning.optimizers.momentum import Momentum
from dimat_flwr.learning.optimizers.sgd import Sgd
from dimat_flwr.models import DigitsCNN

SOURCE = Digits()


def network():
    torch.manual_seed(0)
    return DigitsCNN(width=1)


def train(model, optimizer, first, steps):
    data = PeerData.training(SOURCE, None, torch.device("cpu"))
    train_steps(model, data, optimizer, SOURCE.task, first=first, steps=steps, batch_size=16, seed=1)


class Torchs:
    """Somebody else's optimizer."""

    def build(self, params):
        return torch.optim.RMSprop(params, momentum=0.5)


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize(
    "source", [Sgd(), Momentum(), Adam(), AdamW(), AmsGrad(), Torchs()], ids=lambda s: type(s).__name__
)
def test_pieces_equal_one_go(source, copy):
    whole, pieces = network(), network()
    train(whole, source.build(whole.parameters()), 0, 6)
    saved = {}
    for first in (0, 2, 4):
        optimizer = source.build(pieces.parameters())
        restore_optimizer(optimizer, pieces, saved, copy=copy)
        given = {key: value.clone() for key, value in saved.items()}
        train(pieces, optimizer, first, 2)
        if copy:
            assert all(torch.equal(value, saved[key]) for key, value in given.items())
        saved = save_optimizer(optimizer, pieces)
    for one, other in zip(whole.parameters(), pieces.parameters(), strict=True):
        assert torch.equal(one, other)


def test_moments_are_restored_in_the_order_of_memory_that_their_parameters_have():
    model = network().to(memory_format=torch.channels_last)
    optimizer = Adam().build(model.parameters())
    train(model, optimizer, 0, 1)
    kept = {key: value.contiguous() for key, value in save_optimizer(optimizer, model).items()}
    again = Adam().build(model.parameters())
    restore_optimizer(again, model, kept, copy=False)
    for own in model.parameters():
        assert again.state[own]["exp_avg"].stride() == own.stride()
        assert torch.equal(again.state[own]["exp_avg"], optimizer.state[own]["exp_avg"])


def test_names_and_shapes_follow_the_parameters():
    model = network()
    optimizer = Adam().build(model.parameters())
    assert save_optimizer(optimizer, model) == {}
    train(model, optimizer, 0, 1)
    saved, shapes = save_optimizer(optimizer, model), {name: p.shape for name, p in model.named_parameters()}
    assert {key: value.shape for key, value in saved.items()} == {
        f"{name}/{kind}": torch.Size() if kind == "step" else shape
        for name, shape in shapes.items()
        for kind in ("step", "exp_avg", "exp_avg_sq")
    }
    assert not any(value.requires_grad for value in saved.values())


def test_another_networks_state_is_refused():
    model, other = network(), DigitsCNN(width=2)
    optimizer = Momentum().build(other.parameters())
    train(other, optimizer, 0, 1)
    fresh = Momentum().build(model.parameters())
    with pytest.raises(TrainingError, match=r"features\.0\.weight/momentum_buffer' \(32, 1, 3, 3\) belongs to no"):
        restore_optimizer(fresh, model, save_optimizer(optimizer, other))
    with pytest.raises(TrainingError, match="'nobody/step'"):
        restore_optimizer(fresh, model, {"nobody/step": torch.zeros(())})
