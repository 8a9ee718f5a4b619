"""Training and evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put a whole model into training or evaluation mode and restore every module's own mode afterwards."""
    others = [module for module in model.modules() if module.training is not training]
    if others:  # a model that is in the mode already, as between minibatches, costs nothing
        model.train(training)
    try:
        yield
    finally:
        for module in others:
            module.training = not training
