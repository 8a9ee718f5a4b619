"""Merge several models into one, no one of them being the one that the others are matched to."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Unpack, get_args

import torch
from torch import Tensor, nn

from dimat_flwr.merging.activation_matching import MatchingOptions
from dimat_flwr.merging.alignment import Method, find_permutations
from dimat_flwr.merging.check import Batch, MergeError, check_finite, check_row, check_same_architecture
from dimat_flwr.merging.cycle_consistent import frank_wolfe
from dimat_flwr.merging.families import share_moved
from dimat_flwr.merging.match_many import match_many
from dimat_flwr.merging.merge_models import BatchNormPolicy, Merged, merge_with_report
from dimat_flwr.symmetry import Permutation, PermutationSpec

Strategy = Literal["cycle_consistent", "many", "first"]


def merge_many(
    model: nn.Module,
    states: Sequence[Mapping[str, Tensor]],
    *,
    spec: PermutationSpec,
    batches: Iterable[Batch] = (),
    weights: Sequence[float] | None = None,
    strategy: Strategy = "cycle_consistent",
    method: Method = "activation",
    generator: torch.Generator | None = None,
    max_steps: int = 100,
    batchnorm: BatchNormPolicy = "recalibrate",
    recalibrate_on: Iterable[Batch] | None = None,
    repair: bool = False,
    **matching: Unpack[MatchingOptions],
) -> Merged:
    """Bring K models into one order of units and mix them.

    All start matched to the first by ``method``. ``"first"`` leaves them there. ``"many"`` (MergeMany, ``match_many``)
    matches each to the mean of the others until none moves. ``"cycle_consistent"`` (C2M3, ``frank_wolfe``) moves all
    at once; it climbs from there and from the models as they are, which is the paper's start and knows no first, and
    takes the better end. Both raise the same objective, the sum over all pairs of models of the inner product of their
    permuted weights.

    Args:
        model: gives the device, the architecture and the BatchNorm layers; its own weights are not used.
        states: the models' K >= 2 state dicts.
        spec: the network's permutation groups.
        batches: input batches, as a list or data loader that can be read several times.
        weights: K mixing weights that sum to 1; None: equal ones. They play no part in the matching.
        strategy: ``"cycle_consistent"``, ``"many"`` or ``"first"``; docs/merging.md compares them.
        method: how the start is found, see ``align``; with ``"none"`` the models start as they are, as in both papers.
        generator: a CPU generator, for everything that is visited in random order; None: one seeded with 0.
        max_steps: of Frank-Wolfe from each start, for ``"cycle_consistent"``.
        batchnorm: see ``merge_with_report``, like ``recalibrate_on`` and ``repair``; ``"keep"`` keeps the first's
            statistics.
        recalibrate_on: the batches to recalibrate on.
        repair: restore the hidden units' variance.
        **matching: the settings of activation matching.

    Returns:
        The merged model with K permutations and shares of units moved, in the order of ``states``. All are in the
        first model's frame, whatever the strategy: its permutation is the identity, and the one from model q to model
        p is that of q followed by the inverse of that of p.

    Raises:
        MergeError: fewer than two models, state dicts that do not fit each other or hold NaN, weights that are not one
            per model or do not sum to 1, or no batches where the method needs them.
    """
    if len(states) < 2:
        raise MergeError(f"{len(states)} model to merge: give two or more.")
    if strategy not in get_args(Strategy):
        raise MergeError(f"there is no strategy '{strategy}': take one of {', '.join(get_args(Strategy))}.")
    row = [1 / len(states)] * len(states) if weights is None else list(weights)
    if len(row) != len(states):
        raise MergeError(f"{len(row)} mixing weights for {len(states)} models: give one each.")
    check_row(row)
    check_same_architecture(model.state_dict(), states[0], "model 1")
    for number, state in enumerate(states, start=1):
        check_same_architecture(states[0], state, f"model {number}")
        check_finite(state, f"model {number}")
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    pairwise = find_permutations(
        model, states[0], states[1:], spec, batches, method=method, generator=generator, **matching
    )
    permutations = _in_frame_of_first(
        _common_order(states, spec, [spec.identity(), *pairwise], strategy, generator, max_steps)
    )
    aligned = [spec.apply(state, permutation) for state, permutation in zip(states, permutations, strict=True)]
    merged = merge_with_report(
        model,
        aligned[0],
        aligned[1:],
        row,
        spec=spec,
        batches=batches,
        method="none",
        batchnorm=batchnorm,
        recalibrate_on=recalibrate_on,
        repair=repair,
    )
    return Merged(merged.state, tuple(permutations), tuple(share_moved(permutation) for permutation in permutations))


def _common_order(
    states: Sequence[Mapping[str, Tensor]],
    spec: PermutationSpec,
    start: list[Permutation],
    strategy: Strategy,
    generator: torch.Generator,
    max_steps: int,
) -> Sequence[Permutation]:
    if strategy == "first":
        return start
    if strategy == "many":
        return match_many(states, spec, start, generator=generator)
    ends = [frank_wolfe(states, spec, max_steps=max_steps)]
    if not all(permutation.is_identity() for permutation in start):
        ends.append(frank_wolfe(states, spec, start, max_steps))
    return max(ends, key=lambda end: end.objective).permutations


def _in_frame_of_first(permutations: Sequence[Permutation]) -> list[Permutation]:
    back = permutations[0].inverse()
    return [permutation.compose(back) for permutation in permutations]
