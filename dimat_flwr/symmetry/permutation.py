"""Permutations of a network's units: one index tensor per group, with the algebra of a group."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from dimat_flwr.symmetry.errors import SymmetryError
from dimat_flwr.symmetry.group import Group


class Permutation(Mapping[str, Tensor]):
    """Maps each group to an int64 CPU tensor p with ``aligned = theirs[p]``: unit u of aligned is unit p[u] of theirs.

    For a group without a parent p has shape (units,). For a group with a parent it has shape (blocks, units): with q
    the parent's entry, unit (h, u) of the aligned network is unit (q[h], p[h, u]) of theirs.

    Nothing is assumed about where the indices come from: every entry is checked, and copied.

    Raises:
        SymmetryError: a group is missing or unknown, or an entry is not a permutation of its group's units.
    """

    def __init__(self, groups: Mapping[str, Group], indices: Mapping[str, Tensor]):
        unknown = [name for name in indices if name not in groups]
        if unknown:
            raise SymmetryError(f"permutation names unknown groups {unknown[:5]}; the network has {list(groups)[:20]}")
        missing = [name for name in groups if name not in indices]
        if missing:
            raise SymmetryError(f"permutation lacks groups {missing[:5]}; take spec.identity() for those to leave")
        self._groups = groups
        self._indices = {name: _checked(group, indices[name]) for name, group in groups.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._indices[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Permutation):
            return NotImplemented
        return self.keys() == other.keys() and all(torch.equal(p, other[name]) for name, p in self.items())

    __hash__ = None  # type: ignore[assignment]  # compares by content and holds tensors

    def inverse(self) -> "Permutation":
        """Return the permutation that undoes this one."""
        inverted = {}
        for name, p in self.items():
            parent = self._groups[name].parent
            rows = p if parent is None else p[torch.argsort(self[parent])]
            inverted[name] = torch.argsort(rows, dim=-1)
        return Permutation(self._groups, inverted)

    def compose(self, after: "Permutation") -> "Permutation":
        """Return the one permutation that does the same as this one followed by ``after``.

        ``spec.apply(spec.apply(x, first), after)`` equals ``spec.apply(x, first.compose(after))``.
        """
        composed = {}
        for name, p in self.items():
            parent = self._groups[name].parent
            rows = p if parent is None else p[after[parent]]
            composed[name] = torch.gather(rows, -1, after[name])
        return Permutation(self._groups, composed)

    def is_identity(self) -> bool:
        """Whether every unit stays where it is."""
        return all(torch.equal(p, torch.arange(p.shape[-1]).expand_as(p)) for p in self.values())


def _checked(group: Group, index: Tensor) -> Tensor:
    """Return a private int64 CPU copy of the entry if it is a permutation of the group's units."""
    where = f"permutation of group '{group.name}'"
    if not isinstance(index, Tensor) or index.dtype not in (torch.int64, torch.int32, torch.int16, torch.uint8):
        kind = index.dtype if isinstance(index, Tensor) else type(index).__name__
        raise SymmetryError(f"{where} is {kind}; give an integer tensor")
    if tuple(index.shape) != group.shape:
        raise SymmetryError(f"{where} has shape {tuple(index.shape)}, expected {group.shape}")
    copied = index.detach().to("cpu", torch.int64, copy=True)
    if not torch.equal(copied.sort(dim=-1).values, torch.arange(group.units).expand(group.shape)):
        raise SymmetryError(f"{where} is not a bijection: it must hold each of 0..{group.units - 1} exactly once")
    return copied
