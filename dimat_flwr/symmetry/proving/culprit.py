"""Where a wrong permutation goes wrong: the first operator whose value is no reordering of what it was."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from dimat_flwr.symmetry.proving.running import Runner
from dimat_flwr.symmetry.tracing.program import Program


def first_wrong_operator(
    runner: Runner, program: Program, state: Mapping[str, Tensor], moved: Mapping[str, Tensor]
) -> str:
    """Return the first operator whose result has other elements, in any order, when the state is permuted."""
    sums: dict[str, Tensor] = {}
    found: list[str] = []

    def note(node: fx.Node, value: Any) -> None:
        if isinstance(value, Tensor) and value.is_floating_point() and node.op != "placeholder":
            sums[node.name] = _elements(value)

    def compare(node: fx.Node, value: Any) -> None:
        if not found and node.name in sums and not _alike(sums[node.name], _elements(value)):
            found.append(f"operator '{node.name}' ({node.target})")

    runner.program(program, state, note)
    runner.program(program, moved, compare)
    return found[0] if found else "the output"


def _elements(value: Tensor) -> Tensor:
    return value.detach().double().nan_to_num().flatten().sort().values


def _alike(before: Tensor, after: Tensor) -> bool:
    scale = float(before.abs().max()) if before.numel() else 0.0
    return before.shape == after.shape and bool(torch.all((before - after).abs() <= 1e-7 * scale + 1e-30))
