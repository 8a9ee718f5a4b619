"""Telling classes of atoms apart: two may be exchanged only if they occur in the same places in the same roles."""

import numpy as np

from dimat_flwr.symmetry.atoms import FIXED, UNIFORM, Ints
from dimat_flwr.symmetry.closure import Sequence
from dimat_flwr.symmetry.ledger import Ledger, Membership


def slots_of(classes: Ints, labels: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Return (distinct classes, start, count, places): a class's places are places[start : start + count].

    They are ordered by label, then by place, so that slot s of one class corresponds to slot s of another.
    """
    order = np.lexsort((np.arange(len(classes)), labels, classes)).astype(np.int64)
    distinct, start, count = np.unique(classes[order], return_index=True, return_counts=True)
    return distinct, start.astype(np.int64), count.astype(np.int64), order


class Signatures:
    """A signature per class, refined occurrence by occurrence: equal if and only if all occurrences are."""

    def __init__(self, count: int):
        self._of: Ints = np.zeros(count, np.int64)
        self._next = 1

    def __getitem__(self, classes: Ints) -> Ints:
        return self._of[classes]

    def refine(self, classes: Ints, labels: Ints) -> None:
        """Tell classes apart by how often, and with which labels, they occur in one row."""
        labels = np.broadcast_to(labels, classes.shape)
        movable = (classes != FIXED) & (classes != UNIFORM)
        classes, labels = classes[movable], labels[movable]
        if not len(classes):
            return
        distinct, start, count, order = slots_of(classes, labels)
        for slot in range(int(count.max())):
            here = count > slot
            label = labels[order[start[here] + slot]]
            self._tell(distinct[here], label)

    def _tell(self, classes: Ints, labels: Ints) -> None:
        pairs = np.stack([self._of[classes], labels])
        distinct, inverse = np.unique(pairs, axis=1, return_inverse=True)
        self._of[classes] = self._next + inverse.reshape(-1)
        self._next += distinct.shape[1]


def signatures(ledger: Ledger, sequences: list[Sequence]) -> Signatures:
    """Return the signatures of all classes."""
    result = Signatures(ledger.atoms.count)
    for sequence in sequences:
        result.refine(sequence.classes, sequence.labels)
    for observation in ledger.observations:
        result.refine(ledger.atoms.find(observation.atoms), observation.labels)
    for membership in ledger.memberships:
        _refine_by_blocks(result, membership, ledger)
    return result


def _refine_by_blocks(result: Signatures, membership: Membership, ledger: Ledger) -> None:
    """Members are told apart by which of their class's blocks they are in; blocks by how many they are."""
    atoms = np.unique(membership.blocks)
    classes = ledger.atoms.find(atoms)
    _, start, count, order = slots_of(classes, np.zeros_like(classes))
    slot = np.empty_like(atoms)
    slot[order] = np.arange(len(atoms)) - np.repeat(start, count)
    result.refine(classes, np.zeros_like(classes))
    pairs = np.unique(np.stack([ledger.atoms.find(membership.members), membership.blocks]), axis=1)
    result.refine(pairs[0], slot[np.searchsorted(atoms, pairs[1])])
