"""The permutation symmetries of a network, and applying permutations to its tensors."""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dimat_flwr.symmetry.errors import SymmetryError
from dimat_flwr.symmetry.group import Group
from dimat_flwr.symmetry.permutation import Permutation
from dimat_flwr.symmetry.tracing.traced import TracedModel


@dataclass(frozen=True, eq=False)
class PermutationSpec:
    """Which axes of a network's tensors share a permutation; made by ``find_permutation_spec``.

    Attributes:
        groups: name -> group, in order of first appearance in the forward pass.
        shapes: name -> shape of every tensor of the network's state dict.
        aliases: name -> name of the tensor it is tied to, such as an output layer that is the embedding.
        traced: the network's forward pass as a graph, for streaming activations at the groups' taps.
        training_only: parameters that are only read in train mode, such as those of auxiliary classifiers.
        warnings: what was kept in place for lack of knowledge, such as an unknown operator.
        permutable_share: share of the network's parameters that lie on at least one permutable axis.
    """

    groups: Mapping[str, Group]
    shapes: Mapping[str, tuple[int, ...]]
    aliases: Mapping[str, str]
    traced: TracedModel
    training_only: tuple[str, ...]
    warnings: tuple[str, ...]
    permutable_share: float

    def identity(self) -> Permutation:
        """Return the permutation that moves nothing."""
        return self.permutation({n: torch.arange(g.units).expand(g.shape) for n, g in self.groups.items()})

    def random(self, generator: torch.Generator) -> Permutation:
        """Return a uniformly random permutation of every group, drawn from a CPU generator."""
        drawn = {n: torch.argsort(torch.rand(g.shape, generator=generator)) for n, g in self.groups.items()}
        return self.permutation(drawn)

    def permutation(self, indices: Mapping[str, Tensor]) -> Permutation:
        """Return a permutation from one index tensor per group, checked (see ``Permutation``)."""
        return Permutation(self.groups, indices)

    def apply(self, state_dict: Mapping[str, Tensor], permutation: Permutation) -> dict[str, Tensor]:
        """Return the state dict of the same function with its units in the permuted order.

        Args:
            state_dict: every tensor of the network's state dict, on any device. Not modified; tensors that no
                permutation touches are returned as they are, not copied. Its ``_metadata``, which some networks need
                to load it, is kept.
            permutation: aligned = theirs[p] for every group.

        Raises:
            SymmetryError: a tensor is missing, or not the network's.
        """
        missing = [name for name in self.shapes if name not in state_dict]
        unknown = [name for name in state_dict if name not in self.shapes]
        if missing or unknown:
            raise SymmetryError(f"state dict does not fit the network: lacks {missing[:5]}, has unknown {unknown[:5]}")
        result = OrderedDict(self.apply_to(state_dict, permutation))
        if hasattr(state_dict, "_metadata"):
            result._metadata = state_dict._metadata  # type: ignore[attr-defined]
        return result

    def apply_to(self, named_tensors: Mapping[str, Tensor], permutation: Permutation) -> dict[str, Tensor]:
        """Permute any tensors that are named and shaped like the network's, such as gradients or momentum buffers.

        Tensors under other names are returned as they are.

        Raises:
            SymmetryError: a tensor has the name of one of the network's but another shape.
        """
        moves = self._moves(permutation, {self.aliases.get(name, name) for name in named_tensors})
        result = {}
        done: dict[tuple[str, int], Tensor] = {}  # a tensor given under two names stays one tensor
        for name, tensor in named_tensors.items():
            if name in self.shapes and tuple(tensor.shape) != self.shapes[name]:
                raise SymmetryError(f"'{name}' has shape {tuple(tensor.shape)}, the network's has {self.shapes[name]}")
            canonical = self.aliases.get(name, name)
            moved = done.get((canonical, id(tensor)), tensor)
            if moved is tensor:
                for (dim, conv_groups), index in moves.get(canonical, ()):
                    moved = _take(moved, dim, conv_groups, index.to(tensor.device))
            result[name] = done[canonical, id(tensor)] = moved
        return result

    def describe(self) -> str:
        """Return a listing: per group its size and every (tensor, axis) in it with the operator that tied it."""
        lines = [f"{len(self.groups)} groups, {self.permutable_share:.1%} of the parameters on a permutable axis"]
        for group in self.groups.values():
            size = f"{group.units} units" if group.blocks is None else f"{group.blocks} x {group.units} units"
            inside = "" if group.parent is None else f" within the blocks of {group.parent}"
            lines.append(f"{group.name}: {size}{inside}, seen at {[tap.name for tap in group.taps]}")
            for axis in group.axes:
                dim = "flattened" if axis.dim is None else f"axis {axis.dim}"
                slots = "" if axis.positions.shape[0] == 1 else f" x{axis.positions.shape[0]}"
                lines.append(f"  {axis.tensor} {dim}{slots} ({axis.operator})")
        lines.extend(f"warning: {warning}" for warning in self.warnings)
        return "\n".join(lines)

    def _moves(
        self, permutation: Permutation, tensors: Collection[str]
    ) -> dict[str, list[tuple[tuple[int | None, int], Tensor]]]:
        """Return, for each of some tensors, ((dim, conv_groups), index along the axis): new = old[index]."""
        moves: dict[str, dict[tuple[int | None, int], Tensor]] = {}
        for name, group in self.groups.items():
            p = permutation[name]
            for axis in group.axes:
                if axis.tensor not in tensors:
                    continue
                found, key = moves.setdefault(axis.tensor, {}), (axis.dim, axis.conv_groups)
                if key not in found:
                    shape = self.shapes[axis.tensor]
                    length = torch.Size(shape).numel() if axis.dim is None else shape[axis.dim] * axis.conv_groups
                    found[key] = torch.arange(length)
                index = found[key]
                if group.parent is None:
                    source = axis.positions[:, p]
                else:
                    blocks = axis.positions[:, permutation[group.parent]]
                    source = torch.gather(blocks, -1, p.expand_as(blocks))
                index[axis.positions] = source
        # A grouped convolution's columns move within rows that have already been moved, so its rows come first.
        return {name: sorted(found.items(), key=lambda item: item[0][1]) for name, found in moves.items()}


def _take(tensor: Tensor, dim: int | None, conv_groups: int, index: Tensor) -> Tensor:
    if dim is None:
        return tensor.reshape(-1)[index].reshape(tensor.shape)
    if conv_groups == 1:
        return tensor.index_select(dim, index)
    rows, columns = tensor.shape[0] // conv_groups, tensor.shape[1]
    grouped = tensor.reshape(conv_groups, rows, columns, -1)
    # The rows' move has put the right convolution group in place: only the column within it is left to choose.
    column = (index % columns).reshape(conv_groups, 1, columns, 1).expand(grouped.shape)
    return torch.gather(grouped, 2, column).reshape(tensor.shape)
