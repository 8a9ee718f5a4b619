"""Small members of the families that merging must work for; no statistic or affine parameter is all 0 or all 1."""

from functools import cache

import torch
import torchvision
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.vision_transformer import VisionTransformer

from dimat_flwr.models.cifar_resnet import ResNet20
from dimat_flwr.models.cifar_vgg import VGG16
from dimat_flwr.symmetry import PermutationSpec, find_permutation_spec

FAMILIES = {
    "mlp": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(3072, 20), nn.ReLU(), nn.Linear(20, 12), nn.Tanh(), nn.Linear(12, 5)
    ),
    "resnet20": lambda: ResNet20(num_classes=10),
    "vgg16_bn": lambda: VGG16(num_classes=10, width=0.125),
    "vgg16": lambda: VGG16(num_classes=10, batchnorm=False, width=0.125),
    "resnet50_short": lambda: ResNet(Bottleneck, [1, 1, 1, 1], num_classes=10),
    "resnext_short": lambda: ResNet(Bottleneck, [1, 1, 1, 1], num_classes=10, groups=4, width_per_group=8),
    "mobilenet_v3": lambda: torchvision.models.mobilenet_v3_small(width_mult=0.35, num_classes=10),
    "vit": lambda: VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=48, num_classes=10
    ),
}


def network(family: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a network in eval mode whose units all differ."""
    torch.manual_seed(seed)
    model = FAMILIES[family]().to(dtype)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("running_mean"):
                tensor.normal_(0, 0.1)
            elif tensor.is_floating_point() and (tensor.ndim == 1 or name.endswith(("class_token", "pos_embedding"))):
                tensor.add_(torch.randn_like(tensor), alpha=0.1)
    if family == "vit":  # torchvision starts the classifier at zero
        nn.init.normal_(model.heads.head.weight, std=0.1)
    return model.eval()


@cache
def spec_of(family: str) -> PermutationSpec:
    """Return a family's symmetries, found and proven once for all tests."""
    return find_permutation_spec(network(family), images(2, 2)[0])


def images(count: int, batch_size: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Return batches of smooth random images (B, 3, 32, 32): noise at several scales, so that units differ on them."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(count, 3, 32, 32)
    for size in (2, 8, 32):
        noise = torch.randn(count, 3, size, size, generator=generator)
        total += nn.functional.interpolate(noise, size=32)
    return list(total.to(dtype).split(batch_size))
