"""The table of rules, by operator name: torch functions, methods and aten operators share one name and one rule."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.constraints.value import Shape

Rule = Callable[..., Any]
RULES: dict[str, Rule] = {}
_R = TypeVar("_R", bound=Callable[..., Any])


class UnsupportedError(Exception):
    """A rule does not cover this use of its operator; its operands are then kept in place."""


@dataclass(frozen=True)
class Context:
    """What a rule is given beside the operator's arguments.

    Attributes:
        ledger: where to write down what moves together.
        shape: shape of the operator's result for the example input, ``()`` if it is not one tensor.
        sizes: the shapes of several results.
    """

    ledger: Ledger
    shape: Shape
    sizes: Any = None


def rule(*names: str) -> Callable[[_R], _R]:
    """Register a rule under operator names (without the trailing underscore of in-place forms)."""

    def register(function: _R) -> _R:
        for name in names:
            if name in RULES:
                raise ValueError(f"two rules for operator '{name}'")
            RULES[name] = function
        return function

    return register


def dim_of(dim: int, rank: int) -> int:
    """Return a dim counted from the front."""
    return dim % rank if rank else 0
