"""Networks in which samples meet are refused, by layer or by what they do."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from dimat_flwr.learning.dp_library import GradSampleModule, without_warnings
from dimat_flwr.learning.private_network import private_faults
from dimat_flwr.models import MLP, DigitsCNN

IMAGES = torch.zeros(2, 1, 8, 8)


class Centred(nn.Module):
    """BatchNorm of somebody's own, of which opacus knows nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += x.abs().sum()
        return x


class Borrowing(nn.Module):
    """Uses a layer's weights outside of the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x.flatten(1), self.layer.weight)


def flat(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), *layers, nn.Linear(6, 3))


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (DigitsCNN(width=1), "BatchNorm2d in 'features.1', 'features.4', 'features.8': BatchNorm cannot support"),
        (MLP(3, 64), "BatchNorm1d in 'features.1', 'features.4': BatchNorm cannot support"),
        (flat(nn.BatchNorm1d(6, affine=False)), "BatchNorm1d in '2'"),
        (nn.Sequential(nn.Unflatten(2, (2, 4)), nn.Flatten(0, 1), nn.InstanceNorm2d(8, track_running_stats=True)),
         "InstanceNorm2d in '2'"),
        (nn.LSTM(8, 3), "LSTM in ''"),
        (flat(Centred()), "the scores of a sample depend on the other samples of its batch"),
        (flat(Counting()), "buffers '2.seen' change in training, without clipping or noise"),
        (Borrowing(), "parameters 'layer.weight': opacus does not find the gradients of single samples"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)  # fmt: skip
def test_what_lets_samples_meet_is_refused_by_name(network: nn.Module, told: str) -> None:
    faults = private_faults(network, IMAGES)
    assert len(faults) == 1
    assert told in faults[0]
    assert "choose a network without them (model=mlp model.batchnorm=false)" in faults[0]


@pytest.mark.parametrize(
    "network",
    [
        MLP(3, 64, batchnorm=False),
        flat(nn.Dropout(0.5), nn.LayerNorm(6)),
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)),
    ],
    ids=["MLP", "dropout", "GroupNorm"],
)
def test_what_keeps_samples_apart_is_taken_and_left_as_it_was(network: nn.Module) -> None:
    network.eval()
    before = copy.deepcopy(network.state_dict())
    assert private_faults(network, IMAGES) == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module.training or module._forward_hooks for module in network.modules())
    assert all(own.grad is None and not hasattr(own, "grad_sample") for own in network.parameters())


def test_images_and_weights_in_channels_last_order_are_told_apart_sample_by_sample() -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    for network_order in (torch.contiguous_format, torch.channels_last):
        for images_order in (torch.contiguous_format, torch.channels_last):
            network = nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, 2, 1, groups=2), nn.Flatten(),
                nn.Linear(36, 3),
            ).double().to(memory_format=network_order)  # fmt: skip
            private = GradSampleModule(network, loss_reduction="sum")
            with without_warnings():
                private(images.contiguous(memory_format=images_order)).square().sum().backward()
            found = [own.grad_sample.clone() for own in network.parameters()]
            private.to_standard_module()
            for sample, image in enumerate(images):
                network.zero_grad()
                network(image[None]).square().sum().backward()
                for own, gradients in zip(network.parameters(), found, strict=True):
                    torch.testing.assert_close(gradients[sample], own.grad)
            network.zero_grad()
            assert private_faults(network.float(), images.float()) == []
