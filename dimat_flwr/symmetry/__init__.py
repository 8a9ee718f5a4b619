"""Which axes of a network's tensors share a permutation: found by tracing, applied by indexing, proven by running."""

from dimat_flwr.symmetry.errors import SymmetryError, TraceError
from dimat_flwr.symmetry.find import find_permutation_spec
from dimat_flwr.symmetry.group import AxisRef, Group
from dimat_flwr.symmetry.permutation import Permutation
from dimat_flwr.symmetry.spec import PermutationSpec
from dimat_flwr.symmetry.tap import Tap
from dimat_flwr.symmetry.tracing.traced import TracedModel
from dimat_flwr.symmetry.verify import verify

__all__ = [
    "AxisRef",
    "Group",
    "Permutation",
    "PermutationSpec",
    "SymmetryError",
    "Tap",
    "TraceError",
    "TracedModel",
    "find_permutation_spec",
    "verify",
]
