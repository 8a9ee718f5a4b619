"""How each family of operators moves, ties and consumes atoms; importing this package fills the registry."""

from dimat_flwr.symmetry.rules import (  # noqa: F401  # imported for the rules they register
    attention,
    convolution,
    creation,
    indexing,
    linear,
    normalization,
    ordering,
    pointwise,
    pooling,
    recurrent,
    reductions,
    reparametrized,
    shaping,
)
from dimat_flwr.symmetry.rules.context import Context
from dimat_flwr.symmetry.rules.registry import RULES, Rule, UnsupportedError

__all__ = ["RULES", "Context", "Rule", "UnsupportedError"]
