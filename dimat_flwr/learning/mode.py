"""Training and evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def in_mode(model: nn.Module, training: bool, *, frozen_batchnorm: bool = False) -> Iterator[None]:
    """Put a whole model into training or evaluation mode and restore every module's own mode afterwards.

    Args:
        model: is changed while the context lasts.
        training: which mode.
        frozen_batchnorm: leave BatchNorm in evaluation mode all the same: it normalizes with its running statistics,
            which stay as they are, and its weights are trained.
    """
    before = [(module, module.training) for module in model.modules()]
    if not all(mode is training for _, mode in before):  # a model that is in the mode already costs nothing
        model.train(training)
    if frozen_batchnorm:
        for module, _ in before:
            if isinstance(module, _BatchNorm):
                module.training = False
    try:
        yield
    finally:
        for module, mode in before:
            if module.training is not mode:
                module.training = mode
