"""VGG-16 for small images (Simonyan and Zisserman, ICLR 2015, configuration D)."""

from torch import Tensor, nn

from dimat_flwr.models.initialization import initialize

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(nn.Module):
    """Thirteen 3 x 3 convolutions in five stages, each ended by 2 x 2 max pooling, and one linear layer.

    The three linear layers of the ImageNet version are replaced by one, as is usual for 32 x 32 images: after five
    poolings a single position is left. Larger images are averaged over their positions.

    Args:
        num_classes: number of class scores.
        in_channels: channels of the images.
        batchnorm: BatchNorm after every convolution, which then has no bias of its own.
        width: factor on the number of channels.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, batchnorm: bool = True, width: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = in_channels
        for stage in _STAGES:
            for channels in (max(1, round(size * width)) for size in stage):
                layers.append(nn.Conv2d(previous, channels, 3, padding=1, bias=not batchnorm))
                if batchnorm:
                    layers.append(nn.BatchNorm2d(channels))
                layers.append(nn.ReLU())
                previous = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(previous, num_classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores.

        Args:
            images: (B, in_channels, H, W), H and W >= 32.

        Returns:
            (B, num_classes).
        """
        scores: Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return scores
