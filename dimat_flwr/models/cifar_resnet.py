"""ResNet-20 for small images (He et al., Deep Residual Learning, CVPR 2016, section 4.2)."""

import torch
from torch import Tensor, nn

from dimat_flwr.models.initialization import initialize


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with BatchNorm and a shortcut around them.

    Where the shape changes the shortcut is a 1 x 1 convolution with BatchNorm (the paper's option B, as in DIMAT's own
    code; the CIFAR section of He et al. uses option A, which pads with zero channels and has no parameters).

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        stride: 2 halves the image.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H / stride, W / stride) for x (B, in_channels, H, W)."""
        branch = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(branch + self.shortcut(x))


class ResNet20(nn.Module):
    """Three stages of three basic blocks with 16, 32 and 64 times ``width`` channels.

    Args:
        num_classes: number of class scores.
        in_channels: channels of the images.
        width: factor on the number of channels; DIMAT's runs use 8 (128, 256, 512).
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, width: int = 1) -> None:
        super().__init__()
        stages = [16 * width, 32 * width, 64 * width]
        self.conv1 = nn.Conv2d(in_channels, stages[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stages[0])
        self.layer1 = _stage(stages[0], stages[0], stride=1)
        self.layer2 = _stage(stages[0], stages[1], stride=2)
        self.layer3 = _stage(stages[1], stages[2], stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(stages[2], num_classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores.

        Args:
            images: (B, in_channels, H, W), 32 x 32 in the paper.

        Returns:
            (B, num_classes).
        """
        x = torch.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        scores: Tensor = self.classifier(self.pool(x).flatten(1))
        return scores


def _stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(in_channels, channels, stride), BasicBlock(channels, channels, 1), BasicBlock(channels, channels, 1)
    )
