"""The catalogue of networks built to mislead, and how they are entered."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.symmetry.networks import ConvNet, Function

Case = tuple[nn.Module, Any]
CASES: dict[str, Callable[[], Case]] = {}


def case(make: Callable[[], Case]) -> Callable[[], Case]:
    CASES[make.__name__] = make
    return make


def add(name: str, make: Callable[[], Case]) -> None:
    assert name not in CASES
    CASES[name] = make


class Flat(nn.Module):
    """(batch, 5) -> hidden (batch, 8) -> something -> (batch, 3)."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module, after: int = 8, hidden: int = 8):
        super().__init__()
        self.inp, self.out = nn.Linear(5, hidden), nn.Linear(after, 3)
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.function(torch.tanh(self.inp(x)), *self.layers))


class Tokens(Flat):
    """(batch, tokens, 5) -> hidden (batch, tokens, 8) -> something -> (batch, tokens, 3)."""


def flat(name: str, function: Callable[..., Tensor], *layers: Callable[[], nn.Module], **sizes: int) -> None:
    add(name, lambda: (Flat(function, *(make() for make in layers), **sizes), torch.randn(6, 5)))


def tokens(name: str, function: Callable[..., Tensor], *layers: Callable[[], nn.Module], **sizes: int) -> None:
    add(name, lambda: (Tokens(function, *(make() for make in layers), **sizes), torch.randn(2, 6, 5)))


def image(name: str, function: Callable[..., Tensor], *layers: Callable[[], nn.Module], **sizes: int) -> None:
    add(name, lambda: (ConvNet(Function(function, *(make() for make in layers)), **sizes), torch.randn(2, 3, 8, 8)))
