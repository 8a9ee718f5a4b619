"""A permutation group and the tensor axes it acts on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dimat_flwr.symmetry.tap import Tap


@dataclass(frozen=True, eq=False)
class AxisRef:
    """One axis of one tensor on which (part of) a group's units lie.

    Attributes:
        tensor: the tensor's name in the state dict.
        dim: the axis; ``None`` means the flattened tensor.
        positions: int64, (slots, units), or (slots, blocks, units) for a group with a parent: where each unit lies
            along the axis. Slot s of a unit is exchanged with slot s of another.
        conv_groups: > 1 for the per-group axis of a grouped convolution's weight (O, I/G, ...), whose meaning depends
            on the row: ``positions`` then run over ``conv_groups * shape[dim]``, position f being column
            f % shape[dim] of the rows of convolution group f // shape[dim].
        operator: the operator of the network that tied the axis to the group.
    """

    tensor: str
    dim: int | None
    positions: Tensor
    conv_groups: int
    operator: str

    def slices(self, tensor: Tensor) -> Tensor:
        """Return what each unit holds in the tensor.

        Args:
            tensor: a tensor of the shape of ``self.tensor``.

        Returns:
            (units, features), or (blocks, units, features) for a group with a parent: features are the elements
            of the unit's slots.
        """
        if self.dim is None:
            moved = tensor.reshape(-1, 1)
        elif self.conv_groups == 1:
            moved = torch.movedim(tensor, self.dim, 0).reshape(tensor.shape[self.dim], -1)
        else:  # (G * rows, columns, ...) -> (G * columns, rows * ...)
            rows, columns = tensor.shape[0] // self.conv_groups, tensor.shape[1]
            grouped = tensor.reshape(self.conv_groups, rows, columns, -1).transpose(1, 2)
            moved = grouped.reshape(self.conv_groups * columns, -1)
        picked = moved.index_select(0, self.positions.reshape(-1).to(tensor.device))
        picked = picked.reshape(*self.positions.shape, -1)
        return torch.movedim(picked, 0, -2).reshape(*self.positions.shape[1:], -1)


@dataclass(frozen=True, eq=False)
class Group:
    """Units that may be exchanged with each other, wherever they occur, without changing the network's function.

    Attributes:
        name: unique in the specification, taken from the module that computes the units.
        units: how many units may be exchanged (within a block, for a group with a parent).
        blocks: for a group with a parent, the parent's number of units; else ``None``.
        parent: the group that permutes the blocks (attention heads, groups of a convolution) the units belong to.
        axes: every tensor axis the units lie on. A group of blocks has axes only for what it holds per block; its
            members' axes are in its children.
        taps: where the units are visible, in the order of the forward pass. Empty for a group of blocks, which is
            seen through its children.
    """

    name: str
    units: int
    blocks: int | None
    parent: str | None
    axes: tuple[AxisRef, ...]
    taps: tuple[Tap, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the group's entry in a ``Permutation``: (units,) or (blocks, units)."""
        return (self.units,) if self.blocks is None else (self.blocks, self.units)
