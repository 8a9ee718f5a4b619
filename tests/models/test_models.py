"""The networks: sizes known from the papers, traceability, and training from the first step."""

import math
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import fx, nn

from dimat_flwr.models import MLP, VGG16, DigitsCNN, ResNet20

ROOT = Path(__file__).parents[2]
YAMLS = sorted((ROOT / "conf" / "model").glob("*.yaml"))


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_resnet20_has_the_papers_size():
    # He et al. table 6: 0.27 M with parameter-free shortcuts; two 1x1 convolutions with BatchNorm come on top.
    shortcuts = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
    model = ResNet20(num_classes=10)
    assert parameters(model) - shortcuts == 269_722
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in model.modules()) == 19


def test_resnet20_of_width_8_has_dimats_channels():
    with torch.device("meta"):
        model = ResNet20(num_classes=100, width=8)
    assert [model.layer1[0].conv1.out_channels, model.layer2[0].conv1.out_channels] == [128, 256]
    assert model.classifier.in_features == 512


@pytest.mark.parametrize("batchnorm", [True, False])
def test_vgg16_has_the_convolutions_of_configuration_d(batchnorm):
    import torchvision

    with torch.device("meta"):
        ours = VGG16(batchnorm=batchnorm)
        reference = (torchvision.models.vgg16_bn if batchnorm else torchvision.models.vgg16)(weights=None)

    def shapes(m):
        return [tuple(c.weight.shape) for c in m.modules() if isinstance(c, nn.Conv2d)]

    assert shapes(ours) == shapes(reference)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in ours.modules()) == (13 if batchnorm else 0)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (DigitsCNN(num_classes=7, width=2), (1, 8, 8)),
        (ResNet20(num_classes=7, in_channels=1), (1, 28, 28)),
        (VGG16(num_classes=7, width=0.125), (3, 64, 64)),
        (VGG16(num_classes=7, batchnorm=False, width=0.125), (3, 32, 32)),
        (MLP(num_classes=7, in_features=30), (30,)),
        (MLP(num_classes=7, in_features=64, depth=0, batchnorm=False), (1, 8, 8)),
    ],
    ids=["digits_cnn", "resnet20", "vgg16_bn", "vgg16", "mlp", "linear"],
)
def test_traced_network_computes_the_same(model, shape):
    model.eval()
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    scores = model(x)
    assert scores.shape == (4, 7)
    torch.testing.assert_close(fx.symbolic_trace(model)(x), scores)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 3])
def test_first_scores_are_neither_flat_nor_wild(width):
    torch.manual_seed(0)
    images = torch.randn(64, 3, 32, 32)
    for model in (ResNet20(width=width), VGG16(width=width / 4), VGG16(width=width / 4, batchnorm=False)):
        with torch.no_grad():
            scores = model(images)
        assert 1e-3 < scores.std() < 3
        loss = nn.functional.cross_entropy(scores, torch.randint(0, 10, (64,)))
        assert abs(loss.item() - math.log(10)) < 1.5


def test_weights_come_from_torchs_generator():
    def drawn(seed):
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in DigitsCNN().parameters()])

    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: p.stem)
def test_every_yaml_builds_a_network_for_its_dataset(path):
    shape = {"digits_cnn": (1, 8, 8), "mlp": (9,)}.get(path.stem, (3, 32, 32))
    dataset = {"num_classes": 12, "channels": shape[0], "features": 9}
    config = OmegaConf.create({"dataset": dataset, "model": OmegaConf.load(path)})
    with torch.device("meta"):
        model = instantiate(config.model)
        assert model(torch.empty(2, *shape)).shape == (2, 12)


@pytest.mark.parametrize("path", [p for p in YAMLS if "dimat_flwr" in p.read_text()], ids=lambda p: p.stem)
def test_yaml_shows_every_argument_with_its_default(path):
    import inspect

    from hydra.utils import get_class

    config = OmegaConf.load(path)
    arguments = inspect.signature(get_class(config._target_)).parameters
    assert set(config) == set(arguments) | {"_target_"}
    plain = (
        set(arguments)
        - {"num_classes", "in_channels", "in_features"}
        - ({"batchnorm"} if path.stem == "vgg16" else set())
    )
    assert {k: config[k] for k in plain} == {k: arguments[k].default for k in plain}


def test_mlp_has_its_layers():
    model = MLP(num_classes=3, in_features=5, width=7, depth=2)
    assert [tuple(p.shape) for p in model.parameters() if p.dim() == 2] == [(7, 5), (7, 7), (3, 7)]
    assert sum(isinstance(m, nn.BatchNorm1d) for m in model.modules()) == 2
    assert [m.bias is None for m in model.modules() if isinstance(m, nn.Linear)] == [True, True, False]
