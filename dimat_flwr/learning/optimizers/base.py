"""What every optimizer component is: settings from which an optimizer of one model's parameters is built."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, MutableMapping
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch.nn import Parameter

from dimat_flwr.component import STRICT


class RunningOptimizer(Protocol):
    """An optimizer at work on the parameters of one model. Every ``torch.optim.Optimizer`` is one.

    Attributes:
        param_groups: dicts with ``params`` (a list) and the settings, of which ``lr`` may be changed at any time.
        state: parameter -> name -> tensor, of the parameter's shape or a scalar; empty before the first step.
    """

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """See above."""
        ...

    @property
    def state(self) -> MutableMapping[Any, Any]:
        """See above."""
        ...

    def step(self) -> Any:
        """Change the parameters in place by their ``.grad``; those without one stay as they are."""
        ...

    def zero_grad(self) -> None:
        """Remove the gradients of all parameters."""
        ...


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Optimizer(ABC):
    """Settings of an optimizer.

    Attributes:
        lr: learning rate.
        weight_decay: L2 penalty on the weights.
        plain_step: whether a step is x <- x - lr * g and nothing else. Algorithms that define their own step take lr
            and weight_decay from such an optimizer and refuse others, whose settings they would ignore.
    """

    lr: float = Field(gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    plain_step: ClassVar[bool] = False

    @abstractmethod
    def build(self, params: Iterable[Parameter]) -> RunningOptimizer:
        """Return a new optimizer of these parameters, without any state."""


Beta = Annotated[float, Field(ge=0, lt=1)]
Betas = tuple[Beta, Beta]
