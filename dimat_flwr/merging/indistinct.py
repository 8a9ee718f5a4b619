"""Units that the matching data cannot tell apart: activations say nothing about their order, so their weights do.

Dead units (a ReLU that is off for all of my samples) are the usual case, units that act on a single sample another.
Left to chance they would be shuffled at every exchange, and mixed with weights they have nothing in common with.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dimat_flwr.merging.descent import Descent
from dimat_flwr.merging.moments import ROUNDING
from dimat_flwr.symmetry import Permutation, PermutationSpec

_SWEEPS = 10  # each settles what the one before made comparable; a few are enough, as most units have their place


def find_indistinct(scores: Tensor, precision: float, blocks: int = 1) -> list[Tensor]:
    """Return the sets of my units whose scores against all of the neighbour's are the same.

    Exchanging the units that such a set is matched with changes no sum of scores.

    Args:
        scores: (N, N), my units in rows.
        precision: the relative rounding error of the activations; rows closer than ``ROUNDING`` of these are the same.
        blocks: how many blocks of equal size the units come in; such sets across blocks are left out.

    Returns:
        Index tensors (n,) with n > 1, disjoint.
    """
    width = len(scores) // blocks
    # Equal rows have equal projections, so after sorting by those only neighbours need comparing.
    directions = torch.cos(torch.arange(scores.shape[1], dtype=scores.dtype, device=scores.device) ** 2)
    block = torch.arange(len(scores), device=scores.device) // width
    by_projection = torch.argsort(scores @ directions, stable=True)
    order = by_projection[torch.argsort(block[by_projection], stable=True)]
    rows = scores[order]
    size = rows.abs().amax(1)
    apart = (rows[1:] - rows[:-1]).abs().amax(1)
    same = (apart <= ROUNDING * precision * torch.minimum(size[1:], size[:-1])) & (
        block[order][1:] == block[order][:-1]
    )
    label = torch.cat([torch.zeros(1, dtype=torch.int64), (~same).cpu().cumsum(0)])
    sets = torch.split(order.cpu(), torch.bincount(label).tolist())
    return [units.sort().values for units in sets if len(units) > 1]


def settle_indistinct(
    mine: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    spec: PermutationSpec,
    found: Permutation,
    sets: Mapping[str, Sequence[Tensor]],
) -> Permutation:
    """Order units that cannot be told apart by weights; what the activations decided stays as it is.

    Args:
        mine: my state dict.
        theirs: the neighbour's state dict.
        spec: the network's permutation groups.
        found: the order found by activations.
        sets: group -> sets of its units (block-major inside blocks), as from ``find_indistinct``.
    """
    loose = [(spec.groups[name], units) for name, found_sets in sets.items() for units in found_sets]
    if not loose:
        return found
    descent = Descent(mine, theirs, spec, found)
    for _ in range(_SWEEPS):
        moved = [descent.settle(group, units) for group, units in loose]
        if not any(moved):
            break
    return descent.found
