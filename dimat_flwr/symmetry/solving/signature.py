"""Telling classes of atoms apart: two may be exchanged only if they occur in the same places in the same roles."""

import numpy as np
import numpy.typing as npt

from dimat_flwr.symmetry.constraints.atoms import FIXED, UNIFORM, Ints
from dimat_flwr.symmetry.constraints.ledger import Ledger, Membership
from dimat_flwr.symmetry.solving.closure import AxisRow
from dimat_flwr.symmetry.solving.colours import Colours, Hashes, mix


def slots_of(classes: Ints, roles: Ints, colours: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Return (distinct classes, start, count, places): a class's places are places[start : start + count].

    They are ordered by role, then by colour, then by place, so that slot s of one class corresponds to slot s of any
    other that it may be exchanged with.
    """
    order = np.lexsort((np.arange(len(classes)), colours, roles, classes)).astype(np.int64)
    distinct, start, count = np.unique(classes[order], return_index=True, return_counts=True)
    return distinct, start.astype(np.int64), count.astype(np.int64), order


class Signatures:
    """A signature per class: a hash of the multiset of its occurrences, equal where all occurrences are."""

    def __init__(self, count: int):
        self._of: Hashes = np.zeros(count, np.uint64)
        self._rows = 0

    def __getitem__(self, classes: Ints) -> Hashes:
        return self._of[classes]

    def single_out(self, classes: Ints) -> None:
        """Give classes signatures that nothing else has."""
        self._rows += 1
        distinct = np.unique(classes)
        self._of[distinct] += mix(mix(distinct.astype(np.uint64)) + np.uint64(self._rows))

    def refine(self, classes: Ints, roles: Ints, colours: Ints) -> None:
        """Tell classes apart by how often, and with which roles and colours, they occur in one row."""
        self._rows += 1
        roles, colours = np.broadcast_to(roles, classes.shape), np.broadcast_to(colours, classes.shape)
        movable = (classes != FIXED) & (classes != UNIFORM)
        occurrence = mix(mix(roles[movable].astype(np.uint64)) + colours[movable].astype(np.uint64))
        np.add.at(self._of, classes[movable], mix(occurrence + np.uint64(self._rows)))


def signatures(ledger: Ledger, rows: list[AxisRow], colours: Colours) -> Signatures:
    """Return the signatures of all classes."""
    result = Signatures(ledger.atoms.count)
    alone = _ambiguous(ledger, rows, colours)
    result.single_out(np.flatnonzero(alone))
    for row in rows:
        result.refine(row.classes, row.roles, colours.along(row.atoms))
    for observation in ledger.observations:
        result.refine(ledger.atoms.find(observation.atoms), observation.roles, colours.of[observation.atoms])
    for membership in ledger.memberships:
        _refine_by_blocks(result, membership, ledger, colours, alone)
    return result


def _ambiguous(ledger: Ledger, rows: list[AxisRow], colours: Colours) -> npt.NDArray[np.bool_]:
    """Return which classes have places that cannot be told apart, though they are not the same."""
    found = np.zeros(ledger.atoms.count, np.bool_)
    for s in rows:
        by_colour = _keys(s.classes, s.roles, colours.along(s.atoms))
        by_company = _keys(by_colour, colours.company_along(s.atoms))
        _, first = np.unique(by_company, return_index=True)
        _, back, counts = np.unique(by_colour[first], return_index=True, return_counts=True)
        found[s.classes[first[back[counts > 1]]]] = True
    for membership in ledger.memberships:  # blocks that met nothing are told apart by their members alone
        blocks = np.unique(membership.blocks)
        blocks = blocks[colours.company[blocks] != 0]
        keys = _keys(ledger.atoms.find(blocks), colours.of[blocks])
        _, first, counts = np.unique(keys, return_index=True, return_counts=True)
        found[ledger.atoms.find(blocks[first[counts > 1]])] = True
    found[[FIXED, UNIFORM]] = False
    return found


def _keys(*columns: npt.NDArray[np.int64] | Hashes) -> Ints:
    """Return one integer per row, equal where the rows are."""
    key = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        distinct, inverse = np.unique(column, return_inverse=True)
        _, key = np.unique(key * len(distinct) + inverse.reshape(-1), return_inverse=True)
        key = key.reshape(-1).astype(np.int64)
    return key


def _refine_by_blocks(
    result: Signatures, membership: Membership, ledger: Ledger, colours: Colours, alone: npt.NDArray[np.bool_]
) -> None:
    """Members are told apart by which of their class's blocks they are in; blocks by how many they are."""
    blocks = np.unique(membership.blocks)
    classes = ledger.atoms.find(blocks)
    result.refine(classes, np.zeros_like(classes), colours.of[blocks])
    still = (classes == FIXED) | alone[classes]  # such blocks are told apart one by one
    _, start, count, order = slots_of(
        _keys(classes, colours.of[blocks]), np.zeros_like(classes), np.zeros_like(classes)
    )
    rank = np.empty_like(blocks)
    rank[order] = np.arange(len(blocks)) - np.repeat(start, count)
    which = _keys(still.astype(np.int64), np.where(still, blocks, colours.of[blocks]), rank)
    _, rows = np.unique(_keys(membership.members, membership.blocks, membership.roles), return_index=True)
    members, inside = membership.members[rows], membership.roles[rows]
    inside = _keys(which[np.searchsorted(blocks, membership.blocks[rows])], inside)
    result.refine(ledger.atoms.find(members), inside, colours.of[members])
