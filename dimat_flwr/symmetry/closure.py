"""What follows from the ledger's entries: blocks that share members are one, blocks of what stays stay."""

from dataclasses import dataclass

import numpy as np

from dimat_flwr.symmetry.atoms import FIXED, UNIFORM, Ints
from dimat_flwr.symmetry.ledger import Ledger
from dimat_flwr.symmetry.value import compress


@dataclass(frozen=True, eq=False)
class Sequence:
    """One tensor axis as a row of classes.

    Attributes:
        tensor: the tensor's name.
        dim: the axis, ``None`` for the flattened tensor.
        conv_groups: see ``AxisRef``.
        operator: who used it first.
        classes: the class at each place.
        labels: places of one class with different labels are different things.
    """

    tensor: str
    dim: int | None
    conv_groups: int
    operator: str
    classes: Ints
    labels: Ints


def close(ledger: Ledger) -> list[Sequence]:
    """Tie whatever the entries imply, until nothing changes; return every tensor axis as a row of classes."""
    _freeze_conflicts(ledger)
    while True:
        before = ledger.atoms.find(np.arange(ledger.atoms.count, dtype=np.int64))
        sequences = _sequences(ledger)
        _tie_blocks(ledger)
        if np.array_equal(before, ledger.atoms.find(np.arange(ledger.atoms.count, dtype=np.int64))):
            return sequences


def _freeze_conflicts(ledger: Ledger) -> None:
    """Keep tensors in place that are used in ways that cannot be stated together, and those that have to stay."""
    for name in ledger.elements:
        if any(tensor == name for tensor, _, _ in ledger.axes):
            ledger.warn(f"'{name}' is used both as a weight and element by element; it is kept in place")
            ledger.freeze(name)
    for name, dim, conv_groups in list(ledger.axes):
        if conv_groups > 1 and any(key[:2] == (name, dim) and key[2] != conv_groups for key in ledger.axes):
            ledger.warn(f"'{name}' serves convolutions of different groups; it is kept in place")
            ledger.freeze(name)
    for axis in ledger.axes.values():
        if axis.tensor in ledger.frozen:
            ledger.fix(axis.atoms)
    for record in ledger.elements.values():
        if record.tensor in ledger.frozen:
            ledger.fix(record.atoms)


def _sequences(ledger: Ledger) -> list[Sequence]:
    """Return all axes by order of their first atom; tensors used element by element are put as axes if they can be."""
    rows: list[tuple[int, Sequence]] = []
    for axis in ledger.axes.values():
        classes = ledger.atoms.find(axis.atoms)
        rows.append(
            (int(axis.atoms[0]), Sequence(axis.tensor, axis.dim, axis.conv_groups, axis.operator, classes, axis.labels))
        )
    for record in ledger.elements.values():
        classes = compress(ledger.atoms.find(record.atoms))
        moving = [d for d, size in enumerate(classes.shape) if size > 1]
        first = int(record.atoms.flat[0])
        if len(moving) == 1:
            others = frozenset(range(classes.ndim)) - {moving[0]}
            labels = np.broadcast_to(record.labels, record.atoms.shape)
            labels = ledger.collapse_roles(labels, others).reshape(-1)
            labels = np.broadcast_to(labels, (record.atoms.shape[moving[0]],))
            rows.append((first, Sequence(record.tensor, moving[0], 1, record.operator, classes.reshape(-1), labels)))
        elif moving:
            flat = ledger.atoms.find(record.atoms).reshape(-1)
            distinct, counts = np.unique(flat, return_counts=True)
            repeated = distinct[(counts > 1) & (distinct != FIXED)]
            if len(repeated):
                ledger.warn(f"'{record.tensor}' moves along several axes at once; part of it is kept in place")
                ledger.fix(repeated)
            flat = ledger.atoms.find(flat)
            rows.append((first, Sequence(record.tensor, None, 1, record.operator, flat, np.zeros_like(flat))))
    return [sequence for _, sequence in sorted(rows, key=lambda row: row[0])]


def _tie_blocks(ledger: Ledger) -> None:
    """Make sure that every class lies in at most one block, that fixed members fix their block, and depth is two."""
    if not ledger.memberships:
        return
    members = np.concatenate([m.members for m in ledger.memberships])
    blocks = np.concatenate([m.blocks for m in ledger.memberships])
    member_classes = ledger.atoms.find(members)
    ledger.fix(blocks[member_classes == FIXED])
    movable = (member_classes != FIXED) & (member_classes != UNIFORM)
    member_classes, blocks = member_classes[movable], blocks[movable]
    order = np.argsort(member_classes, kind="stable")
    member_classes, blocks = member_classes[order], blocks[order]
    # A fixed block stays what it is: only blocks that can move are made one.
    same = member_classes[1:] == member_classes[:-1]
    ledger.atoms.union(blocks[1:][same], blocks[:-1][same])
    block_classes = ledger.atoms.find(blocks)
    member_classes = ledger.atoms.find(member_classes)
    nested = np.isin(member_classes, block_classes) & (block_classes != FIXED)
    ledger.fix(block_classes[nested])
