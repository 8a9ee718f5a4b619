"""Networks built to mislead: each has one thing about it that a rule, the tracing or the proof may get wrong."""

from tests.symmetry.adversarial import layers, order, roles, sequences, tracing, weights, writes
from tests.symmetry.adversarial.base import CASES, Flat

__all__ = ["CASES", "Flat", "layers", "order", "roles", "sequences", "tracing", "weights", "writes"]
