"""MergeMany: each of several models in turn is matched to the mean of the others, until none moves any more.

Source: Ainsworth, Hayase and Srinivasa 2022, Git Re-Basin (https://arxiv.org/abs/2209.04836), Algorithm 3. As every
match is a weight matching that starts from the order the model has, none lowers f(P) = sum over pairs p < q of
<P_p x_p, P_q x_q>: what depends on P_p in it is <P_p x_p, the others' sum>. Orders are finitely many and each move
raises f, so the sweeps end.
"""

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dimat_flwr.merging.check import MergeError, check_row
from dimat_flwr.merging.mixing import Mixture
from dimat_flwr.merging.relaxed import Relaxation, one_hot
from dimat_flwr.merging.weight_matching import match_weights
from dimat_flwr.symmetry import Permutation, PermutationSpec


def match_many(
    states: Sequence[Mapping[str, Tensor]],
    spec: PermutationSpec,
    init: Sequence[Permutation] | None = None,
    *,
    generator: torch.Generator | None = None,
    max_sweeps: int = 100,
) -> list[Permutation]:
    """Match every model to the mean of the others, in random order, until a whole sweep moves none.

    Args:
        states: the models' K >= 2 state dicts, of one architecture.
        spec: the network's permutation groups.
        init: where to start, one permutation per model; None: the identities, as in the paper.
        generator: a CPU generator, for the order of the models in a sweep and of the groups in a match; None: one
            seeded with 0.
        max_sweeps: stop, with a warning, after this many.

    Returns:
        One permutation per model, into a common order.

    Raises:
        MergeError: fewer than two models, ``max_sweeps`` below 1, or state dicts that do not fit each other.
    """
    if len(states) < 2 or max_sweeps < 1:
        raise MergeError(f"{len(states)} models and max_sweeps={max_sweeps}: give two models and one sweep at least.")
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    found = [spec.identity() for _ in states] if init is None else list(init)
    aligned = [spec.apply(state, permutation) for state, permutation in zip(states, found, strict=True)]
    for _ in range(max_sweeps):
        moved = False
        for model in torch.randperm(len(states), generator=generator).tolist():
            others = [state for other, state in enumerate(aligned) if other != model]
            move = match_weights(mean(others), aligned[model], spec, generator=generator, init=spec.identity())
            if not move.is_identity():
                found[model] = found[model].compose(move)
                aligned[model] = spec.apply(states[model], found[model])
                moved = True
        if not moved:
            return found
    warnings.warn(
        f"MergeMany still moved units after {max_sweeps} sweeps: the result is its best so far; raise max_sweeps.",
        stacklevel=2,
    )
    return found


def agreement(
    states: Sequence[Mapping[str, Tensor]], spec: PermutationSpec, permutations: Sequence[Permutation]
) -> float:
    """Return f(P), the sum over pairs of models of the inner product of their permuted weights.

    Args:
        states: the models' K state dicts.
        spec: the network's permutation groups.
        permutations: one per model.
    """
    relaxation = Relaxation(states, spec)
    return relaxation.objective([one_hot(relaxation.indices(permutation)) for permutation in permutations])


def mean(states: Sequence[Mapping[str, Tensor]], weights: Sequence[float] | None = None) -> dict[str, Tensor]:
    """Return the weighted mean of state dicts; tensors that are no numbers are the first's.

    Raises:
        MergeError: the weights do not sum to 1, or are not one per state dict.
    """
    row = [1 / len(states)] * len(states) if weights is None else list(weights)
    check_row(row, len(states) - 1)
    mixture = Mixture(states[0], row[0])
    for state, weight in zip(states[1:], row[1:], strict=True):
        mixture.add(state, weight)
    return mixture.result()
