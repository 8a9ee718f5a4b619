"""Bring a neighbour's network into my order of units, by whichever method."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Unpack, get_args

import torch
from torch import Tensor, nn

from dimat_flwr.merging.activation_matching import MatchingOptions, match_neighbours
from dimat_flwr.merging.check import Batch, MergeError, check_finite, check_same_architecture
from dimat_flwr.merging.weight_matching import match_weights
from dimat_flwr.symmetry import Permutation, PermutationSpec

Method = Literal["weight_from_activation", "activation", "weight", "none"]


def align(
    model: nn.Module,
    mine: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    spec: PermutationSpec,
    batches: Iterable[Batch] = (),
    *,
    method: Method = "activation",
    generator: torch.Generator | None = None,
    **options: Unpack[MatchingOptions],
) -> tuple[dict[str, Tensor], Permutation]:
    """Permute a neighbour's units into my order; what its network computes stays the same.

    Args:
        model: gives the device and the architecture; its weights are not used.
        mine: my state dict.
        theirs: the neighbour's state dict, on any device.
        spec: the network's permutation groups.
        batches: my input batches, for activation matching.
        method: ``"activation"`` (``match_activations``, as DIMAT does), ``"weight"`` (``match_weights``, which needs no
            batches), ``"weight_from_activation"`` (the second started from what the first found), or ``"none"``.
            docs/merging.md compares them.
        generator: a CPU generator, for weight matching; None: see ``match_weights``.
        **options: the settings of activation matching; the other methods ignore them.

    Returns:
        The neighbour's state dict in my order, sharing no memory with ``theirs``, and the permutation that was
        applied; ``share_moved`` tells how much it moves.

    Raises:
        MergeError: the state dicts do not fit, or what the method needs is missing.
    """
    permutation = find_permutations(
        model, mine, [theirs], spec, batches, method=method, generator=generator, **options
    )[0]
    aligned = spec.apply(theirs, permutation)
    return {name: tensor.clone() if tensor is theirs[name] else tensor for name, tensor in aligned.items()}, permutation


def find_permutations(
    model: nn.Module,
    mine: Mapping[str, Tensor],
    neighbours: Sequence[Mapping[str, Tensor]],
    spec: PermutationSpec,
    batches: Iterable[Batch] = (),
    *,
    method: Method = "activation",
    generator: torch.Generator | None = None,
    **options: Unpack[MatchingOptions],
) -> list[Permutation]:
    """Return one permutation per neighbour; arguments and errors are those of ``align``."""
    if method == "activation":
        return match_neighbours(model, mine, neighbours, spec, batches, **options)
    if method == "weight_from_activation":
        starts = match_neighbours(model, mine, neighbours, spec, batches, **options)
        return [
            match_weights(mine, theirs, spec, generator=generator, init=start)
            for theirs, start in zip(neighbours, starts, strict=True)
        ]
    if method == "weight":
        return [match_weights(mine, theirs, spec, generator=generator) for theirs in neighbours]
    if method != "none":
        raise MergeError(f"there is no method '{method}': take one of {', '.join(get_args(Method))}.")
    for number, theirs in enumerate(neighbours, start=1):
        check_same_architecture(mine, theirs, f"neighbour {number}")
        check_finite(theirs, f"neighbour {number}")
    return [spec.identity() for _ in neighbours]
