"""What follows from the ledger's entries: blocks that share members are one, blocks of what stays stay."""

from dataclasses import dataclass

import numpy as np

from dimat_flwr.symmetry.constraints.atoms import FIXED, UNIFORM, Ints
from dimat_flwr.symmetry.constraints.ledger import ElementRecord, Ledger


@dataclass(frozen=True, eq=False)
class AxisRow:
    """One tensor axis as a row of classes.

    Attributes:
        tensor: the tensor's name.
        dim: the axis, ``None`` for the flattened tensor.
        conv_groups: see ``AxisRef``.
        operator: who used it first.
        classes: the class at each place.
        roles: places of one class with different roles are different things.
        atoms: (places, atoms of the place): one atom per place, or those of a slice that moves as a whole.
    """

    tensor: str
    dim: int | None
    conv_groups: int
    operator: str
    classes: Ints
    roles: Ints
    atoms: Ints


def close(ledger: Ledger) -> list[AxisRow]:
    """Tie whatever the entries imply, until nothing changes; return every tensor axis as a row of classes."""
    _freeze_conflicts(ledger)
    while True:
        before = ledger.atoms.find(np.arange(ledger.atoms.count, dtype=np.int64))
        rows = _axis_rows(ledger)
        _tie_blocks(ledger)
        if np.array_equal(before, ledger.atoms.find(np.arange(ledger.atoms.count, dtype=np.int64))):
            return rows


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


def _axis_rows(ledger: Ledger) -> list[AxisRow]:
    """Return all axes by order of their first atom."""
    rows: list[tuple[int, AxisRow]] = []
    for axis in ledger.axes.values():
        classes = ledger.atoms.find(axis.atoms)
        places = axis.atoms[:, None]
        row = AxisRow(axis.tensor, axis.dim, axis.conv_groups, axis.operator, classes, axis.roles, places)
        rows.append((int(axis.atoms[0]), row))
    for record in ledger.elements.values():
        rows.append((int(record.atoms.flat[0]), _as_axis(record, ledger)))
    return [row for _, row in sorted(rows, key=lambda row: row[0])]


def _as_axis(record: ElementRecord, ledger: Ledger) -> AxisRow:
    """Return a tensor used element by element as the axis it moves along; elements never read move with the others."""
    classes = np.where(record.used, ledger.atoms.find(record.atoms), -1)
    moving = [d for d in range(classes.ndim) if (classes.max(d) != _least(classes, d)).any()]
    if not moving:  # all of it is part of one unit, or stays
        flat = np.full(record.atoms.size, classes.max())
        places = np.arange(len(flat), dtype=np.int64)
        return AxisRow(record.tensor, None, 1, record.operator, flat, places, record.atoms.reshape(-1, 1))
    if len(moving) > 1:
        flat = ledger.atoms.find(record.atoms).reshape(-1)
        distinct, counts = np.unique(flat, return_counts=True)
        repeated = distinct[(counts > 1) & (distinct != FIXED)]
        if len(repeated):
            ledger.warn(f"'{record.tensor}' moves along several axes at once; part of it is kept in place")
            ledger.fix(repeated)
        atoms = record.atoms.reshape(-1)
        return AxisRow(
            record.tensor, None, 1, record.operator, ledger.atoms.find(flat), np.zeros_like(flat), atoms[:, None]
        )
    (dim,) = moving
    slices = np.moveaxis(record.atoms, dim, 0).reshape(record.atoms.shape[dim], -1)
    row = np.moveaxis(classes, dim, 0).reshape(record.atoms.shape[dim], -1).max(1)
    unread = row < 0
    row[unread] = slices[unread, 0]  # an index along the axis that is never read moves with nothing else
    others = frozenset(range(classes.ndim)) - {dim}
    roles = ledger.collapse_roles(record.roles, others).reshape(-1)
    return AxisRow(record.tensor, dim, 1, record.operator, row, np.broadcast_to(roles, row.shape), slices)


def _least(classes: Ints, dim: int) -> Ints:
    """Return the smallest class along a dim among the elements that are read, or -1."""
    huge = np.iinfo(np.int64).max
    least = np.where(classes < 0, huge, classes).min(dim)
    return np.where(least == huge, -1, least)


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
