"""Networks built to mislead: each has one thing about it that a rule, the tracing or the proof may get wrong."""

from tests.symmetry.adversarial import order, roles, tracing, weights, writes
from tests.symmetry.adversarial.base import CASES, Flat

__all__ = ["CASES", "Flat", "order", "roles", "tracing", "weights", "writes"]
