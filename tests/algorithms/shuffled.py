"""A network of which every peer starts with the same function, its units in an order of its own."""

import torch
from torch import Tensor, nn


class Shuffled(nn.Module):
    """Two hidden layers from one fixed draw, their units in an order drawn from torch's global generator."""

    def __init__(self, in_features: int = 30, num_classes: int = 2, width: int = 12) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, num_classes)
        )
        fixed = torch.Generator().manual_seed(0)
        first, second = torch.randperm(width), torch.randperm(width)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=fixed) * 0.3)
            for index, rows in ((0, first), (2, second)):
                layer, following = self.layers[index], self.layers[index + 2]
                layer.weight.copy_(layer.weight[rows])
                layer.bias.copy_(layer.bias[rows])
                following.weight.copy_(following.weight[:, rows])

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.layers(inputs)
        return scores
