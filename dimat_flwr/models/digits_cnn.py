"""A small network for 8 x 8 digits, on which a whole decentralized run takes seconds."""

from torch import Tensor, nn

from dimat_flwr.models.initialization import initialize


class DigitsCNN(nn.Module):
    """Three 3 x 3 convolutions with BatchNorm (16, 32, 64 channels at width 1), global average pooling, a linear layer.

    Args:
        num_classes: number of class scores.
        in_channels: channels of the images.
        width: factor on the number of channels of every layer.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, width: int = 2) -> None:
        super().__init__()
        channels = [in_channels, 16 * width, 32 * width, 64 * width]
        layers: list[nn.Module] = []
        for depth in range(3):
            layers += [
                nn.Conv2d(channels[depth], channels[depth + 1], 3, padding=1, bias=False),
                nn.BatchNorm2d(channels[depth + 1]),
                nn.ReLU(),
            ]
            if depth == 1:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels[-1], num_classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores.

        Args:
            images: (B, in_channels, H, W), H and W >= 2.

        Returns:
            (B, num_classes).
        """
        scores: Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return scores
