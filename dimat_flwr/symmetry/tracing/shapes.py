"""The shape and type of every value of a program, without computing any of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode

from dimat_flwr.symmetry.tracing.call import Call
from dimat_flwr.symmetry.tracing.program import Program

Sizes = Any  # a torch.Size per tensor, in the tuples, lists and dicts the operator returned


@dataclass(frozen=True)
class Shapes:
    """What is known of the values of a program's nodes.

    Attributes:
        sizes: node -> shape (for several values, the same structure of shapes; ``None`` for what is no tensor).
        dtypes: node -> type, for nodes whose value is one tensor.
    """

    sizes: dict[str, Sizes] = field(default_factory=dict)
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)


def propagate_shapes(program: Program, state: Mapping[str, Tensor], call: Call) -> Shapes:
    """Return the shapes and types of all values for a call."""
    shapes = Shapes()

    def note(node: fx.Node, value: Any) -> None:
        shapes.sizes[node.name] = _sizes(value)
        if isinstance(value, Tensor):
            shapes.dtypes[node.name] = value.dtype

    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake_state = {name: mode.from_tensor(tensor, static_shapes=True) for name, tensor in state.items()}
        fake = call.map(lambda x: mode.from_tensor(x, static_shapes=True) if isinstance(x, Tensor) else x)
        program.run(fake_state, fake, note)
    return shapes


def _sizes(value: Any) -> Sizes:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, list | tuple) and any(isinstance(x, Tensor) for x in value):
        return [_sizes(x) for x in value]
    return None
