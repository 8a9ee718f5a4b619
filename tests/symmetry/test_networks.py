"""The networks people train: right groups, and outputs that do not change."""

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import swin_transformer as swin

from dimat_flwr.symmetry import find_permutation_spec, verify
from tests.symmetry.checks import checked_spec, sizes
from tests.symmetry.networks import Gpt, ResNet20, TextEncoder, mlp


def test_mlp_has_one_group_per_hidden_layer():
    spec = checked_spec(mlp(), torch.randn(2, 3, 2, 2))
    assert sizes(spec) == {"1": (7,), "3": (6,)}
    assert [(a.tensor, a.dim) for a in spec.groups["1"].axes] == [("1.weight", 0), ("1.bias", 0), ("3.weight", 1)]
    assert spec.permutable_share == pytest.approx(1 - 3 / sum(p.numel() for p in mlp().parameters()))
    assert spec.warnings == ()


def test_resnet20_with_convolution_shortcuts_has_a_stream_per_stage():
    spec = checked_spec(ResNet20("B"), torch.randn(2, 3, 16, 16))
    assert len(spec.groups) == 12  # three streams, nine block interiors
    stream = {(a.tensor, a.dim) for a in spec.groups["conv1"].axes}
    assert {("conv1.weight", 0), ("bn1.running_var", 0), ("blocks.2.conv2.weight", 0), ("blocks.3.conv1.weight", 1),
            ("blocks.3.down.0.weight", 1)} <= stream  # fmt: skip
    assert len(spec.groups["conv1"].taps) == 4  # the stem and every block of the stage
    assert all(len(g.taps) == 1 for n, g in spec.groups.items() if n.startswith("blocks") and n.endswith("conv1"))


def test_resnet20_with_padded_shortcuts_ties_the_stages():
    """Option A adds a stage's channels to the middle of the next stage's: those move together, the new ones apart."""
    spec = checked_spec(ResNet20("A"), torch.randn(2, 3, 16, 16))
    streams = sorted((g.units for g in spec.groups.values() if len(g.taps) > 1), reverse=True)
    assert streams == [16, 8, 8]
    stem = {a.tensor for a in spec.groups["conv1"].axes}
    assert {"conv1.weight", "blocks.3.conv2.weight", "blocks.8.conv2.weight", "fc.weight"} <= stem


@pytest.mark.parametrize("name", ["vgg16", pytest.param("vgg16_bn", marks=pytest.mark.slow)])
def test_vgg16_behind_flatten(name):
    features = getattr(torchvision.models, name)(weights=None).features
    model = nn.Sequential(
        features, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(2048, 9), nn.ReLU(), nn.Linear(9, 4)
    )
    spec = find_permutation_spec(model, torch.randn(1, 3, 32, 32), prove=False)
    (flat,) = [a for g in spec.groups.values() for a in g.axes if a.tensor == "3.weight" and a.dim == 1]
    assert flat.positions.shape == (4, 512)
    assert flat.positions[:, 1].tolist() == [4, 5, 6, 7]
    assert spec.permutable_share > 0.999


def test_small_vgg_behind_flatten_is_right():
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Linear(6 * 16, 9), nn.ReLU(), nn.Dropout(), nn.Linear(9, 4)]
    assert sizes(checked_spec(nn.Sequential(*layers, *head), torch.randn(2, 3, 8, 8))) == {"0": (6,), "5": (9,)}


@pytest.mark.slow
@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_encoder_needs_export_and_shows_heads(norm_first):
    spec = checked_spec(TextEncoder(norm_first), torch.randint(0, 20, (2, 7)))
    for layer in range(2):
        attention = f"encoder.layers.{layer}.self_attn"
        assert spec.groups[f"{attention}.heads"].shape == (4,)
        children = [g for g in spec.groups.values() if g.parent == f"{attention}.heads"]
        assert [g.shape for g in children] == [(4, 4), (4, 4)]
        assert spec.groups[f"encoder.layers.{layer}.linear1"].shape == (24,)
    assert spec.groups["tokens"].units == 16
    assert spec.warnings == ()


def test_gpt_with_fused_qkv_and_tied_embedding():
    spec = checked_spec(Gpt(), torch.randint(0, 11, (2, 6)))
    assert spec.aliases == {"lm_head.weight": "wte.weight"}
    qk, v = (g for g in spec.groups.values() if g.parent == "blocks.0.c_attn.heads")
    assert qk.shape == v.shape == (4, 4)
    (axis,) = [a for a in qk.axes if a.tensor == "blocks.0.c_attn.weight"]
    assert axis.positions.shape == (2, 4, 4)  # as query and as key
    assert {a.tensor for a in v.axes} == {"blocks.0.c_attn.weight", "blocks.0.c_attn.bias", "blocks.0.c_proj.weight"}
    permuted = spec.apply(Gpt().state_dict(), spec.random(torch.Generator().manual_seed(0)))
    assert torch.equal(permuted["lm_head.weight"], permuted["wte.weight"])
    assert spec.permutable_share == 1.0


_FAMILIES = ["squeezenet1_1"]
_LARGER = ["convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mobilenet_v3_small"]
_LARGER += ["regnet_y_400mf", "shufflenet_v2_x0_5"]


@pytest.mark.parametrize("name", _FAMILIES + [pytest.param(name, marks=pytest.mark.slow) for name in _LARGER])
def test_one_of_each_family_of_torchvision(name):
    model = getattr(torchvision.models, name)(weights=None, **({"init_weights": False} if name == "googlenet" else {}))
    x = torch.randn(1, 3, 64, 64)
    spec = find_permutation_spec(model, x, prove=False)  # verify does it below
    assert spec.permutable_share > 0.99
    assert spec.warnings == ()
    assert verify(model, spec, x) <= 1e-4


def test_vision_transformer_covers_heads_and_their_units():
    model = torchvision.models.VisionTransformer(16, 8, 2, 4, 24, 32, num_classes=5)
    spec = checked_spec(model, torch.randn(2, 3, 16, 16))
    assert [g.shape for g in spec.groups.values()] == [(24,), (4,), (4, 6), (4, 6), (32,), (4,), (4, 6), (4, 6), (32,)]
    assert spec.permutable_share > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_swin_needs_export_and_shows_heads(version):
    """Shifted windows, patch merging, position bias from a table or a network of its own, cosine attention."""
    kinds = {"block": swin.SwinTransformerBlockV2, "downsample_layer": swin.PatchMergingV2} if version == 2 else {}
    model = swin.SwinTransformer([4, 4], 12, [2, 1], [3, 3], [2, 2], num_classes=5, **kinds)
    spec = checked_spec(model, torch.randn(2, 3, 16, 16))
    assert sum(g.name.endswith("heads") for g in spec.groups.values()) == 3
    merged = [a for g in spec.groups.values() for a in g.axes if a.tensor == "features.2.reduction.weight" and a.dim]
    assert [a.positions.shape for a in merged] == [(4, 12)]
    assert spec.warnings == ()
