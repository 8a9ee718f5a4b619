"""A planted permutation of a trained network is recovered exactly from 512 real images.

Independent of how matching works: the permutation is drawn here, and the merged network must be the original.
"""

import os

import pytest
import torch
from torch import Tensor, nn

from dimat_flwr.data.cifar import CIFAR10
from dimat_flwr.data.digits import Digits
from dimat_flwr.data.images import ImageSource
from dimat_flwr.learning import PeerData, train_epochs
from dimat_flwr.merging import match_activations, merge
from dimat_flwr.models.cifar_resnet import ResNet20
from dimat_flwr.models.cifar_vgg import VGG16
from dimat_flwr.symmetry import find_permutation_spec

DATA = os.environ.get("DIMAT_DATA")
IMAGES = 512
NETWORKS = {
    "resnet20": lambda channels: ResNet20(num_classes=10, in_channels=channels),
    "vgg16": lambda channels: VGG16(num_classes=10, in_channels=channels, batchnorm=True, width=0.25),
}


def trained(name: str, source: ImageSource) -> tuple[nn.Module, list[Tensor]]:
    """Return a network trained for an epoch and 512 of its 32 x 32 images in batches."""
    data = PeerData.training(source, None, torch.device("cpu"))
    if source.image_size != 32:
        images = data.inputs.repeat_interleave(4, 2).repeat_interleave(4, 3)
        data = PeerData(images, data.labels, None, source)
    torch.manual_seed(0)
    model = NETWORKS[name](source.channels)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    train_epochs(
        model, data, optimizer, source.task, epochs=1, batch_size=64, generator=torch.Generator().manual_seed(0)
    )
    return model.eval(), data.matching_inputs(IMAGES, 128, torch.Generator().manual_seed(1))


SOURCES = [
    pytest.param(Digits(train_samples=600), id="digits"),
    pytest.param(
        CIFAR10(data_dir=DATA, train_samples=1000),
        id="cifar10",
        marks=pytest.mark.skipif(not DATA, reason="DIMAT_DATA names no folder with the data sets"),
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_inverse_is_found_for_every_group(name: str, source: ImageSource) -> None:
    model, batches = trained(name, source)
    assert sum(len(batch) for batch in batches) == IMAGES
    spec = find_permutation_spec(model, batches[0][:2])
    original = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    planted = spec.random(torch.Generator().manual_seed(2))
    permuted = spec.apply(original, planted)
    assert any(not torch.equal(permuted[key], tensor) for key, tensor in original.items())

    found = match_activations(model, original, permuted, spec, batches)
    inverse = planted.inverse()
    for group in spec.groups:
        assert torch.equal(found[group], inverse[group]), group

    merged = merge(model, original, [permuted], [0.5, 0.5], spec=spec, batches=batches, batchnorm="average")
    for key, tensor in original.items():
        torch.testing.assert_close(merged[key], tensor, rtol=1e-6, atol=1e-7)
