"""Weight matching: the order of the neighbour's units in which its weights are closest to mine; no data needed.

Source: Ainsworth, Hayase and Srinivasa 2022, Git Re-Basin (https://arxiv.org/abs/2209.04836) sec. 3.2 and Algorithm 1:
coordinate descent on max_P sum over tensors <mine, P theirs>, one linear assignment per group at a time.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from dimat_flwr.merging.assignment import assign
from dimat_flwr.merging.check import MergeError, check_finite, check_same_architecture
from dimat_flwr.merging.families import Family, families, match_family
from dimat_flwr.symmetry import Group, Permutation, PermutationSpec

# They follow the data rather than the function's parameters, and large variances would outweigh all weights.
_STATISTICS = ("running_mean", "running_var")


def match_weights(
    mine: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    spec: PermutationSpec,
    *,
    generator: torch.Generator,
    init: Permutation | None = None,
    max_sweeps: int = 100,
) -> Permutation:
    """Find a permutation of the neighbour's units that makes its weights agree most with mine.

    With the neighbour's tensors in the order found so far, a group's score of my unit u and their unit v is the inner
    product of everything the two hold, over all tensors; the group moves to the best assignment. This is the exact
    optimum of the group given all others where no tensor carries the group twice, and the optimum of the objective's
    linearization elsewhere (a square recurrent weight, a grouped convolution). A move is made only if it raises the
    objective, so every sweep does, and the descent ends. BatchNorm's running statistics take no part.

    Args:
        mine: my state dict.
        theirs: the neighbour's state dict, on any device.
        spec: the network's permutation groups.
        generator: a CPU generator; groups are visited in a random order in each sweep, as in the paper.
        init: where to start, such as the result of activation matching; None starts at the order as it is.
        max_sweeps: give up improving after this many visits of every group.

    Returns:
        ``aligned = spec.apply(theirs, permutation)`` is the neighbour's network in my order.

    Raises:
        MergeError: the state dicts do not fit, hold NaN or infinity, or ``max_sweeps`` is below 1.
    """
    if max_sweeps < 1:
        raise MergeError(f"max_sweeps must be >= 1, but it is {max_sweeps}.")
    check_same_architecture(mine, theirs, "the neighbour's state dict")
    check_finite(mine, "my model")
    check_finite(theirs, "the neighbour")
    found = spec.identity() if init is None else init
    target = _matched(mine, spec)
    current = spec.apply_to({name: theirs[name].to(target[name].device) for name in target}, found)
    joint = families(spec)
    for _ in range(max_sweeps):
        improved = False
        for index in torch.randperm(len(joint), generator=generator).tolist():
            family = joint[index]
            touched = sorted({axis.tensor for group in family.groups for axis in group.axes} & target.keys())
            for move in _moves(family, spec, target, current):
                moved = spec.apply_to({name: current[name] for name in touched}, move)
                if _gain(target, current, moved) > 0:
                    current.update(moved)
                    found = found.compose(move)
                    improved = True
        if not improved:
            break
    return found


def _matched(state: Mapping[str, Tensor], spec: PermutationSpec) -> dict[str, Tensor]:
    """Return the tensors that count: weights on a permutable axis, each once where tensors are tied."""
    permutable = {axis.tensor for group in spec.groups.values() for axis in group.axes}
    return {
        name: tensor.detach()
        for name, tensor in state.items()
        if name in permutable and tensor.is_floating_point() and name.rpartition(".")[2] not in _STATISTICS
    }


def _moves(
    family: Family, spec: PermutationSpec, target: Mapping[str, Tensor], current: Mapping[str, Tensor]
) -> Iterator[Permutation]:
    """Yield what to try in turn, as moves from the order that ``current`` is in when the move is asked for."""
    identity = spec.identity()
    best = match_family(family, lambda group: _scores(group, target, current))
    yield spec.permutation({**identity, **best})
    # Kinds of units that share a tensor can spoil each other's gain when they move together, so also one by one.
    if _share_a_tensor(family.members):
        for member in family.members:
            scores = _scores(member, target, current)
            if scores is not None:
                blocks = scores.reshape(family.root.units, member.units, family.root.units, member.units)
                orders = [assign(blocks[block, :, block].cpu().numpy()) for block in range(family.root.units)]
                yield spec.permutation({**identity, member.name: torch.from_numpy(np.stack(orders))})


def _scores(group: Group, target: Mapping[str, Tensor], current: Mapping[str, Tensor]) -> Tensor | None:
    """Return <what my unit u holds, what their unit v holds>, (N, N), for all N units of a group."""
    total: Tensor | None = None
    count = group.units * (group.blocks or 1)
    for axis in group.axes:
        if axis.tensor in target:
            ours = axis.slices(target[axis.tensor]).reshape(count, -1)
            theirs = axis.slices(current[axis.tensor]).reshape(count, -1)
            product = (ours @ theirs.T).double()
            total = product if total is None else total + product
    return total


def _share_a_tensor(members: Sequence[Group]) -> bool:
    tensors = [name for member in members for name in {axis.tensor for axis in member.axes}]
    return len(tensors) > len(set(tensors))


def _gain(target: Mapping[str, Tensor], before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """Return by how much <mine, theirs> grows, 0 where that is within rounding."""
    gain = scale = 0.0
    for name, moved in after.items():
        ours = target[name].double()
        gain += float((ours * (moved.double() - before[name].double())).sum())
        scale += float(ours.norm() * moved.double().norm())
    return gain if gain > 1e-12 * scale else 0.0
