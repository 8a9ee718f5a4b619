"""The optimizers' machinery: all parameters of a model updated by torch's foreach operations.

Why not ``torch.optim``: building any of its optimizers imports torch's compiler (torch._dynamo, sympy, triton: 900
modules, a second), which every process of a simulation, and every message of a deployed peer, would wait for. The
steps are the same to the last bit or two, and so are the names and shapes of the state.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, MutableMapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter


class ForeachOptimizer(ABC):
    """Implements ``RunningOptimizer``; a subclass says what happens to the parameters that have a gradient.

    Attributes:
        param_groups: a single group with the parameters and the settings.
        state: see ``RunningOptimizer``.
    """

    def __init__(self, params: Iterable[Parameter], **settings: Any) -> None:
        """Make it without any state.

        Args:
            params: of one model.
            settings: of the optimizer; ``lr`` and ``weight_decay`` are among them.
        """
        self.param_groups: list[dict[str, Any]] = [{"params": list(params), **settings}]
        self.state: MutableMapping[Tensor, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Remove the gradients of all parameters."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters that have a gradient in place."""
        for group in self.param_groups:
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            if moving:
                self.update(moving, [parameter.grad for parameter in moving], group)

    @abstractmethod
    def update(self, parameters: list[Tensor], gradients: list[Tensor], settings: dict[str, Any]) -> None:
        """Change parameters and state in place.

        Args:
            parameters: those that have a gradient, at least one.
            gradients: one each; to be left as they are.
            settings: of the group.
        """


def with_decay(parameters: list[Tensor], gradients: list[Tensor], weight_decay: float) -> list[Tensor]:
    """Return the gradients of the loss with an L2 penalty: g + weight_decay * x."""
    if not weight_decay:
        return gradients
    return list(torch._foreach_add(gradients, parameters, alpha=weight_decay))
