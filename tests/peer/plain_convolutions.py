"""A network of convolutions without BatchNorm, which may be trained with privacy."""

from torch import Tensor, nn


class PlainConvolutions(nn.Sequential):
    """Class scores of 8 x 8 digits."""

    def __init__(self, num_classes: int = 10, width: int = 1) -> None:
        super().__init__(
            nn.Conv2d(1, 8 * width, 3, 2, 1), nn.ReLU(), nn.Conv2d(8 * width, 8, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32, num_classes),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, num_classes)."""
        scores: Tensor = super().forward(images)
        return scores
