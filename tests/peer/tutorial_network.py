"""The network of many a tutorial, which flattens with ``view``: that refuses activations whose channels lie last."""

import torch
from torch import Tensor, nn


class TutorialNetwork(nn.Module):
    def __init__(self, num_classes: int = 10, width: int = 1) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 6 * width, 3), nn.Conv2d(6 * width, 8, 3)
        self.head = nn.Linear(8 * 4 * 4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.head(x.view(-1, 8 * 4 * 4))
