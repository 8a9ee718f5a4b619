"""One neighbour's weights on their way into my order: scores between units by weights, and moves that raise them."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from dimat_flwr.merging.assignment import assign
from dimat_flwr.merging.families import Family, families, match_family
from dimat_flwr.symmetry import AxisRef, Group, Permutation, PermutationSpec

# They follow the data rather than the function's parameters, and large variances would outweigh all weights.
_STATISTICS = ("running_mean", "running_var")


class Descent:
    """The neighbour's weights in the order found so far, beside mine.

    Args:
        mine: my state dict.
        theirs: the neighbour's state dict, on any device.
        spec: the network's permutation groups.
        start: the order to start from.

    Attributes:
        families: the groups that move together, in forward order.
        found: the order found so far: ``spec.apply(theirs, found)``.
    """

    def __init__(
        self, mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor], spec: PermutationSpec, start: Permutation
    ) -> None:
        self._spec = spec
        self.families = families(spec)
        self.found = start
        self._owners = permutable_tensors(mine, spec)
        self._mine = {name: mine[name].detach() for name in self._owners}
        self._theirs = spec.apply_to({name: theirs[name].to(ours.device) for name, ours in self._mine.items()}, start)

    def objective(self) -> float:
        """Return <mine, theirs in the order found> over all tensors with a permutable axis."""
        return sum(_inner(ours, self._theirs[name]) for name, ours in self._mine.items())

    def improve(self, family: Family) -> bool:
        """Move a family to a better order if one is found; return whether it was."""
        improved = False
        for move in self._moves(family):
            moved = self._moved(move, family)
            gain = sum(_inner(self._mine[name], tensor - self._theirs[name]) for name, tensor in moved.items())
            scale = sum(float(self._mine[name].norm() * tensor.norm()) for name, tensor in moved.items())
            if gain > 1e-9 * scale:  # less may be rounding, which could go round in circles
                self._accept(move, moved)
                improved = True
        return improved

    def place_layer_by_layer(self) -> None:
        """Place every family in forward order by the weights it shares with those already placed (and the input)."""
        placed: set[str] = set()
        for family in self.families:
            for move in self._moves(family, placed):
                self._accept(move, self._moved(move, family))
            placed.update(group.name for group in family.groups)

    def settle(self, group: Group, units: Tensor) -> bool:
        """Reorder some of a group's units among themselves, as their weights say; return whether any moved.

        Args:
            group: the group.
            units: (n,) int64, which of its units (block-major inside blocks) may change places with each other; they
                must be of one block.
        """
        scores = torch.zeros(len(units), len(units), dtype=torch.float64)
        for axis in group.axes:
            if axis.tensor in self._mine:
                ours, theirs = (_rows(axis, tensors[axis.tensor])[units] for tensors in (self._mine, self._theirs))
                scores += (ours @ theirs.T).double().cpu()
        best = assign(scores.numpy(), stickiness=1e-9)
        if (best == np.arange(len(best))).all():
            return False
        order = torch.arange(group.units).repeat(group.blocks or 1)
        order[units] = order[units][torch.from_numpy(best)]
        move = self._spec.permutation({**self._spec.identity(), group.name: order.reshape(group.shape)})
        self._accept(move, self._moved(move, Family(group, ())))
        return True

    def _moves(self, family: Family, placed: Collection[str] | None = None) -> Iterator[Permutation]:
        """Yield what to try in turn, as moves from the order that is current when the move is asked for.

        Args:
            family: what is to move.
            placed: count only what ties the family to these groups; None: everything.
        """
        identity = self._spec.identity()
        best = match_family(family, lambda group: self._scores(group, placed))
        yield self._spec.permutation({**identity, **best})
        # Kinds of units that meet in a tensor (input and output of a grouped convolution) can spoil each other's gain
        # when they move together, so also one by one within their blocks.
        if not self._members_meet(family):
            return
        for member in family.members:
            inside = {other.name for other in family.members if other is not member}
            scores = self._scores(member, None if placed is None else {*placed, *inside})
            if scores is not None:
                blocks = scores.reshape(family.root.units, member.units, family.root.units, member.units)
                orders = [assign(blocks[block, :, block].cpu().numpy()) for block in range(family.root.units)]
                yield self._spec.permutation({**identity, member.name: torch.from_numpy(np.stack(orders))})

    def _scores(self, group: Group, placed: Collection[str] | None = None) -> Tensor | None:
        """Return <what my unit u holds, what their unit v holds>, (N, N), for all N units of a group, block-major."""
        total: Tensor | None = None
        for axis in group.axes:
            if axis.tensor in self._mine and (placed is None or self._across(axis) <= set(placed)):
                product = (_rows(axis, self._mine[axis.tensor]) @ _rows(axis, self._theirs[axis.tensor]).T).double()
                total = product if total is None else total + product
        return total

    def _across(self, axis: AxisRef) -> set[str]:
        """Return the groups on the other axes of an axis's tensor."""
        return {
            group.name
            for group, other in self._owners.get(axis.tensor, ())
            if (other.dim, other.conv_groups) != (axis.dim, axis.conv_groups)
        }

    def _members_meet(self, family: Family) -> bool:
        members = {member.name for member in family.members}
        return any(self._across(axis) & members for member in family.members for axis in member.axes)

    def _moved(self, move: Permutation, family: Family) -> dict[str, Tensor]:
        touched = {axis.tensor for group in family.groups for axis in group.axes}
        return self._spec.apply_to({name: self._theirs[name] for name in self._mine if name in touched}, move)

    def _accept(self, move: Permutation, moved: Mapping[str, Tensor]) -> None:
        self._theirs.update(moved)
        self.found = self.found.compose(move)


def permutable_tensors(state: Mapping[str, Tensor], spec: PermutationSpec) -> dict[str, list[tuple[Group, AxisRef]]]:
    """Return the tensors that weights are compared by, with the groups on their axes: name -> (group, where).

    Args:
        state: a state dict.
        spec: the network's permutation groups.
    """
    owners: dict[str, list[tuple[Group, AxisRef]]] = {}
    for group in spec.groups.values():
        for axis in group.axes:
            owners.setdefault(axis.tensor, []).append((group, axis))
    return {
        name: owners[name]
        for name, tensor in state.items()
        if name in owners and tensor.is_floating_point() and name.rpartition(".")[2] not in _STATISTICS
    }


def _rows(axis: AxisRef, tensor: Tensor) -> Tensor:
    """Return what each unit holds in the tensor, (all units block-major, features)."""
    return axis.slices(tensor).reshape(axis.positions[0].numel(), -1)


def _inner(first: Tensor, second: Tensor) -> float:
    return float((first.double() * second.double()).sum())
