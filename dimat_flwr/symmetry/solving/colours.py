"""Telling the places of one class apart, where a class occurs several times on an axis.

Two classes may only be exchanged by a map of their places that respects everything that met: if place a met place b
in some role, then what a goes to has met what b goes to in that role. Places are therefore coloured by whom they met,
refined until nothing changes (Weisfeiler and Leman, 1968). Where colours tell all places of a class apart, equal
colours give that map; where they do not, the class is left alone.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dimat_flwr.symmetry.constraints.atoms import FIXED, UNIFORM, Ints
from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.solving.closure import AxisRow

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Colours:
    """Colours of atoms; 0 for those that need none.

    Attributes:
        of: atom -> colour, in the order of the first atoms of each.
        company: atom -> hash of the very atoms it met: of two with the same company either may stand for the other.
    """

    of: Ints
    company: Hashes

    def along(self, atoms: Ints) -> Ints:
        """Return one colour per row of atoms (places, atoms of each place)."""
        if atoms.shape[1] == 1 or not self.of.any():
            return self.of[atoms[:, 0]]
        _, first, inverse = np.unique(self.of[atoms], axis=0, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[inverse.reshape(-1)]

    def company_along(self, atoms: Ints) -> Hashes:
        """Return one company per row of atoms."""
        found = self.company[atoms]
        summed: Hashes = mix(found + mix(np.arange(found.shape[1], dtype=np.uint64))).sum(1, dtype=np.uint64)
        return summed


def colour(ledger: Ledger, rows: list[AxisRow]) -> Colours:
    """Colour the atoms of the classes that occur more than once on an axis or among the blocks of an operator."""
    count = ledger.atoms.count
    classes = ledger.atoms.find(np.arange(count, dtype=np.int64))
    coloured = _several(ledger, rows, count)[classes]
    of: Hashes = np.zeros(count, np.uint64)
    company: Hashes = np.zeros(count, np.uint64)
    if not coloured.any():
        return Colours(np.zeros(count, np.int64), company)
    for n, (atoms, roles) in enumerate(_first_sight(ledger)):
        kept = coloured[atoms]
        np.add.at(of, atoms[kept], mix(mix(roles[kept].astype(np.uint64)) + np.uint64(n + 1)))
    source, target, kind = _meetings(ledger, coloured)
    np.add.at(company, target, mix(mix(source.astype(np.uint64)) + kind))
    distinct = 0
    while True:
        now = len(np.unique(of[coloured]))
        if now == distinct:
            break
        distinct = now
        news = np.zeros(count, np.uint64)
        np.add.at(news, target, mix(of[source] + kind))
        of = np.where(coloured, mix(of + np.uint64(1)) + news, np.uint64(0))
    return Colours(_ranked(of, coloured), company)


def _ranked(hashes: Hashes, coloured: npt.NDArray[np.bool_]) -> Ints:
    """Return colours 1, 2, ... in the order of their first atoms, so that slots come in the order of places."""
    colours = np.zeros(len(hashes), np.int64)
    _, first, inverse = np.unique(hashes[coloured], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    colours[coloured] = rank[inverse.reshape(-1)]
    return colours


def mix(x: Hashes) -> Hashes:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): spreads every bit over all."""
    x = (x + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _several(ledger: Ledger, rows: list[AxisRow], count: int) -> npt.NDArray[np.bool_]:
    """Return which classes occur more than once, in the same role, on an axis or among the blocks of an operator."""
    found = np.zeros(count, np.bool_)
    for row in rows:
        order = np.lexsort((row.roles, row.classes))
        classes, roles = row.classes[order], row.roles[order]
        found[classes[1:][(classes[1:] == classes[:-1]) & (roles[1:] == roles[:-1])]] = True
    for membership in ledger.memberships:
        classes, counts = np.unique(ledger.atoms.find(np.unique(membership.blocks)), return_counts=True)
        found[classes[counts > 1]] = True
    found[[FIXED, UNIFORM]] = False
    return found


def _first_sight(ledger: Ledger) -> list[tuple[Ints, Ints]]:
    """Return (atoms, roles) of all that is written down about single atoms."""
    seen = [(r.atoms.reshape(-1), r.roles.reshape(-1)) for r in (*ledger.axes.values(),)]
    seen += [(r.atoms.reshape(-1), r.roles.reshape(-1)) for r in ledger.elements.values()]
    seen += [(o.atoms, np.broadcast_to(o.roles, o.atoms.shape)) for o in ledger.observations]
    for membership in ledger.memberships:
        seen += [(m, membership.roles) for m in (membership.members, membership.blocks)]
    return seen


def _meetings(ledger: Ledger, coloured: npt.NDArray[np.bool_]) -> tuple[Ints, Ints, Hashes]:
    """Return (source, target, kind): both directions of every meeting of coloured atoms."""
    sources, targets, kinds = [], [], []
    for n, meeting in enumerate(ledger.meetings):
        kept = coloured[meeting.left] & coloured[meeting.right]
        role = mix(meeting.roles[kept].astype(np.uint64))
        for side, (source, target) in enumerate(((meeting.left, meeting.right), (meeting.right, meeting.left))):
            sources.append(source[kept])
            targets.append(target[kept])
            kinds.append(mix(role + np.uint64(2 * n + side)))
    if not sources:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, np.zeros(0, np.uint64)
    return np.concatenate(sources), np.concatenate(targets), np.concatenate(kinds)
