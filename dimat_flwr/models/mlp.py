"""Fully connected layers, for tables."""

from torch import Tensor, nn

from dimat_flwr.models.initialization import initialize


class MLP(nn.Module):
    """Hidden layers of equal width with ReLU, and a linear layer.

    Args:
        num_classes: number of class scores.
        in_features: numbers in a sample.
        width: units of every hidden layer.
        depth: number of hidden layers.
        batchnorm: BatchNorm after every hidden layer, which then has no bias of its own.
    """

    def __init__(
        self, num_classes: int = 2, in_features: int = 30, width: int = 64, depth: int = 2, batchnorm: bool = True
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = in_features
        for _ in range(depth):
            layers.append(nn.Linear(previous, width, bias=not batchnorm))
            if batchnorm:
                layers.append(nn.BatchNorm1d(width))
            layers.append(nn.ReLU())
            previous = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(previous, num_classes)
        initialize(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return class scores.

        Args:
            inputs: (B, in_features), or of more dimensions, which are laid out in a row.

        Returns:
            (B, num_classes).
        """
        scores: Tensor = self.classifier(self.features(inputs.flatten(1)))
        return scores
