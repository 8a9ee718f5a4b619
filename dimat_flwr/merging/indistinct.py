"""Units that the matching data cannot tell apart: activations say nothing about their order, so their weights do.

Dead units (a ReLU that is off for all of my samples) are the usual case, mine or the neighbour's; units that act on a
single sample another. Left to chance they would be shuffled at every exchange, by how the sums are rounded, and mixed
with weights they have nothing in common with.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dimat_flwr.merging.descent import Descent
from dimat_flwr.merging.moments import ROUNDING
from dimat_flwr.symmetry import Group, Permutation, PermutationSpec

Alike = Mapping[str, tuple[Sequence[Tensor], Sequence[Tensor]]]
"""Group -> sets of my units and sets of the neighbour's (block-major inside blocks), as from ``find_indistinct``."""

_SWEEPS = 10  # each settles what the one before made comparable; a few are enough, as most units have their place


def find_indistinct(scores: Tensor, precision: float, blocks: int = 1) -> list[Tensor]:
    """Return the sets of one network's units whose scores against all of the other's are the same.

    Exchanging the units that such a set is matched with changes no sum of scores.

    Args:
        scores: (N, N), the units in rows.
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
    alike: Alike,
) -> Permutation:
    """Order units that cannot be told apart by weights; what the activations decided stays as it is.

    Args:
        mine: my state dict.
        theirs: the neighbour's state dict.
        spec: the network's permutation groups.
        found: the order found by activations.
        alike: the units that cannot be told apart.
    """
    if not any(own or others for own, others in alike.values()):
        return found
    descent = Descent(mine, theirs, spec, found)
    for _ in range(_SWEEPS):
        moved = False
        for name, (own, others) in alike.items():
            group = spec.groups[name]
            for units in own:
                moved |= descent.settle(group, units)
            for units in others:
                places = torch.isin(_matched(group, descent.found), units).nonzero().flatten()
                moved |= descent.settle(group, places)
        if not moved:
            break
    return descent.found


def _matched(group: Group, order: Permutation) -> Tensor:
    """Return which of the neighbour's units each of mine is matched with, (all units,), both block-major."""
    if group.parent is None:
        return order[group.name]
    return (order[group.parent][:, None] * group.units + order[group.name]).flatten()
