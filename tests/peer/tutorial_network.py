"""Networks that do not take channels last as they come, beginning with that of many a tutorial."""

import torch
from torch import Tensor, nn


class TutorialNetwork(nn.Module):
    """It flattens with ``view``, which refuses activations whose channels lie last."""

    def __init__(self, num_classes: int = 10, width: int = 1) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 6 * width, 3), nn.Conv2d(6 * width, 8, 3)
        self.head = nn.Linear(8 * 4 * 4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.head(x.view(-1, 8 * 4 * 4))


class Volumes(nn.Module):
    """It has weights for images and for volumes."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.images, self.volumes = nn.Conv2d(1, 4, 3), nn.Conv3d(1, 2, 3)
        self.head = nn.LazyLinear(num_classes)
        self(torch.zeros(1, 1, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.volumes(self.images(x)[:, None]).flatten(1))


class TooLarge(nn.Sequential):
    """It finds no memory."""

    def forward(self, x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")


class Counting(TutorialNetwork):
    """It counts how often it is run, in its state dict and beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros((), dtype=torch.int64))
        self.register_buffer("passing", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.kept += 1
        self.passing += 1
        return super().forward(x)
