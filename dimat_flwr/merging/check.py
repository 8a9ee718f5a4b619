"""Refuses what cannot be merged, with one error that names the tensor, the place and the remedy.

A wrong checkpoint would otherwise surface as a shape error deep inside a forward pass, and a single NaN as a model
that predicts one class for ever.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

Batch = Tensor | tuple[Tensor, ...]  # the inputs of one forward pass, (samples, ...) each

_SHOWN = 5  # names listed in a message before it says how many more there are


class MergeError(ValueError):
    """Something handed to ``dimat_flwr.merging`` cannot be merged; the message says what, where and what to do."""


def check_same_architecture(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor], whose: str) -> None:
    """Check that two state dicts belong to the same architecture.

    Args:
        mine: my state dict, any shapes.
        theirs: the state dict to compare with it.
        whose: how the message calls ``theirs``, such as ``"neighbour 2"``.

    Raises:
        MergeError: a tensor is missing, unexpected, or of another shape or kind (floating-point or not).
    """
    problems = []
    if missing := [name for name in mine if name not in theirs]:
        problems.append(f"it lacks {_listed(missing)}")
    if extra := [name for name in theirs if name not in mine]:
        problems.append(f"it has {_listed(extra)}, which mine has not")
    shared = [name for name in mine if name in theirs]
    if other := [
        f"{name} {tuple(theirs[name].shape)} instead of {tuple(mine[name].shape)}"
        for name in shared
        if mine[name].shape != theirs[name].shape
    ]:
        problems.append(f"shapes differ: {_listed(other)}")
    if kinds := [
        f"{name} {theirs[name].dtype} instead of {mine[name].dtype}"
        for name in shared
        if mine[name].is_floating_point() != theirs[name].is_floating_point()
    ]:
        problems.append(f"types differ: {_listed(kinds)}")
    if problems:
        raise MergeError(
            f"{whose} has another architecture than my model: {'; '.join(problems)}. "
            "Only models of one architecture can be merged: use the same model settings on both sides."
        )


def check_finite(state: Mapping[str, Tensor], whose: str) -> None:
    """Check that every floating-point tensor is free of NaN and infinity.

    Args:
        state: named tensors of any shapes.
        whose: how the message calls their owner.

    Raises:
        MergeError: names the tensors that are not finite.
    """
    bad = [name for name, tensor in state.items() if tensor.is_floating_point() and not _all_finite(tensor)]
    if bad:
        raise MergeError(
            f"{whose} holds NaN or infinite numbers in {_listed(bad)}: its training diverged. "
            "Leave this model out, or train it again with a smaller learning rate."
        )


def check_row(row: Sequence[float], neighbours: int | None = None) -> None:
    """Check a row of mixing weights: mine first, then one per neighbour; finite and summing to 1 (within 1e-6).

    Args:
        row: my row of the mixing matrix.
        neighbours: how many neighbours there are, None while not known.

    Raises:
        MergeError: the count or the sum is wrong, or a weight is not a finite number.
    """
    if neighbours is not None and len(row) != neighbours + 1:
        raise MergeError(f"{len(row)} mixing weights for {neighbours} neighbours: give {neighbours + 1}, mine first.")
    if not all(math.isfinite(weight) for weight in row):
        raise MergeError(f"mixing weights must be finite numbers, but they are {list(row)}.")
    if abs(math.fsum(row) - 1) > 1e-6:
        raise MergeError(
            f"mixing weights must sum to 1, but {list(row)} sum to {math.fsum(row):.6g}: divide them by their sum."
        )


def nonempty(batches: Iterable[Batch], purpose: str) -> Iterator[Batch]:
    """Yield the batches on, refusing a source without any.

    Args:
        batches: where they come from.
        purpose: what they are for, as in ``"activation matching"``.

    Raises:
        MergeError: there was not a single batch.
    """
    count = 0
    for batch in batches:
        count += 1
        yield batch
    if count == 0:
        raise MergeError(
            f"there is no data for {purpose}: the batches are empty, or an iterator that was used up. "
            "Hand in a non-empty list or data loader of input batches."
        )


def _all_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
