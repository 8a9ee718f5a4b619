"""Which axes of a network's tensors share a permutation: found by tracing, applied by indexing, proven by running.

What traces and proves is imported when it is first used: a peer that reads a stored specification needs neither.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dimat_flwr.symmetry.cache import cached_permutation_spec
from dimat_flwr.symmetry.errors import SymmetryError, TraceError
from dimat_flwr.symmetry.group import AxisRef, Group
from dimat_flwr.symmetry.permutation import Permutation
from dimat_flwr.symmetry.serialization import spec_from_json, spec_to_json
from dimat_flwr.symmetry.spec import PermutationSpec
from dimat_flwr.symmetry.tap import Tap
from dimat_flwr.symmetry.tracing.traced import TracedModel

if TYPE_CHECKING:
    from dimat_flwr.symmetry.find import find_permutation_spec
    from dimat_flwr.symmetry.rules.context import Context
    from dimat_flwr.symmetry.rules.registry import UnsupportedError, rule
    from dimat_flwr.symmetry.verify import verify

_LATER = {
    "Context": "rules.context",
    "UnsupportedError": "rules.registry",
    "find_permutation_spec": "find",
    "rule": "rules.registry",
    "verify": "verify",
}

__all__ = [
    "AxisRef",
    "Context",
    "Group",
    "Permutation",
    "PermutationSpec",
    "SymmetryError",
    "Tap",
    "TraceError",
    "TracedModel",
    "UnsupportedError",
    "cached_permutation_spec",
    "find_permutation_spec",
    "rule",
    "spec_from_json",
    "spec_to_json",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    found = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = found  # a submodule of the same name would stand in its place
    return found
