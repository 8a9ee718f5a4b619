"""From the ledger to groups: classes that may be exchanged with each other, and where they lie in the tensors."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from dimat_flwr.symmetry.constraints.atoms import FIXED, Ints
from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.group import AxisRef
from dimat_flwr.symmetry.solving.closure import AxisRow, close
from dimat_flwr.symmetry.solving.colours import Colours, colour
from dimat_flwr.symmetry.solving.signature import Signatures, signatures, slots_of

_KINDS = ("heads", "groups", "blocks")  # the most telling name wins if blocks are several things


@dataclass(eq=False)
class Draft:
    """A group in the making.

    Attributes:
        classes: (units,), or (blocks, units) with a parent: the class of each unit.
        parent: the group of blocks, if any.
        kind: what a group of blocks consists of, else empty.
        axes: where the units lie.
        name: see ``Group``.
    """

    classes: Ints
    parent: "Draft | None" = None
    kind: str = ""
    axes: list[AxisRef] = field(default_factory=list)
    name: str = ""


def solve(ledger: Ledger) -> tuple[list[Draft], Colours]:
    """Return the groups in order of first appearance, parents before children, and the colours of their places."""
    rows = close(ledger)
    colours = colour(ledger, rows)
    signs = signatures(ledger, rows, colours)
    placed = [s.classes for s in rows]
    in_tensors = np.unique(np.concatenate(placed)) if placed else np.zeros(0, np.int64)
    drafts = _drafts(ledger, signs, in_tensors[in_tensors > 1])
    _place(drafts, rows, colours, ledger.atoms.count)
    # Units on one axis alone are read by nothing, such as a bias that the network replaces by zero.
    drafts = [d for d in drafts if d.kind or d.parent or len(d.axes) > 1 or len(d.axes[0].positions) > 1]
    _name(drafts)
    return drafts, colours


def _drafts(ledger: Ledger, signs: Signatures, in_tensors: Ints) -> list[Draft]:
    blocks = _blocks(ledger, in_tensors)
    inside: set[int] = set().union(*(set(m.tolist()) for m in blocks.values())) if blocks else set()
    drafts: list[Draft] = []
    alike: dict[tuple[int, ...], list[int]] = {}
    for block, members in blocks.items():
        sign = (int(signs[np.array([block])][0]), *sorted(signs[members].tolist()))
        alike.setdefault(sign, []).append(block)
    for group in alike.values():
        if len(group) == 1:  # a block that nothing can be exchanged with: its members are ordinary units
            drafts.extend(Draft(units) for units in _split(blocks[group[0]], signs) if len(units) > 1)
            continue
        parent = Draft(np.array(sorted(group), np.int64), kind=_kind(ledger, group))
        drafts.append(parent)
        children = zip(*(_split(blocks[block], signs) for block in sorted(group)), strict=True)
        drafts.extend(Draft(np.stack(rows), parent) for rows in children)
    free = np.array([c for c in in_tensors.tolist() if c not in inside and c not in blocks], np.int64)
    drafts.extend(Draft(units) for units in _split(free, signs) if len(units) > 1)
    first = {id(d): int(d.classes.min()) for d in drafts}
    for draft in drafts:
        if draft.parent is not None:
            first[id(draft.parent)] = min(first[id(draft.parent)], first[id(draft)])

    def place(draft: Draft) -> tuple[int, int, int]:
        head = draft if draft.parent is None else draft.parent
        return first[id(head)], 0 if draft is head else 1, first[id(draft)]

    return sorted(drafts, key=place)


def _blocks(ledger: Ledger, in_tensors: Ints) -> dict[int, Ints]:
    """Return the movable blocks with their members, both ascending."""
    if not ledger.memberships:
        return {}
    members = ledger.atoms.find(np.concatenate([m.members for m in ledger.memberships]))
    blocks = ledger.atoms.find(np.concatenate([m.blocks for m in ledger.memberships]))
    kept = np.isin(members, in_tensors) & (blocks != FIXED)
    pairs = np.unique(blocks[kept] * ledger.atoms.count + members[kept])  # one number per pair
    blocks, members = pairs // ledger.atoms.count, pairs % ledger.atoms.count
    distinct, start = np.unique(blocks, return_index=True)
    return dict(zip(distinct.tolist(), np.split(members, start[1:]), strict=True)) if len(distinct) else {}


def _kind(ledger: Ledger, blocks: Iterable[int]) -> str:
    wanted = np.array(list(blocks), np.int64)
    kinds = {m.kind for m in ledger.memberships if np.isin(ledger.atoms.find(m.blocks), wanted).any()}
    return next(kind for kind in _KINDS if kind in kinds)


def _split(classes: Ints, signs: Signatures) -> list[Ints]:
    """Return the classes by signature, in ascending order of signature, ascending within."""
    of = signs[classes]
    return [classes[of == sign] for sign in np.unique(of)]


def _place(drafts: list[Draft], rows: list[AxisRow], colours: Colours, count: int) -> None:
    """Write into each draft where its units lie."""
    draft_of = np.full(count, -1, np.int64)
    for i, draft in enumerate(drafts):
        draft_of[draft.classes.reshape(-1)] = i
    for row in rows:
        distinct, start, counts, order = slots_of(row.classes, row.roles, colours.along(row.atoms))
        at = np.zeros(count, np.int64)
        at[distinct] = np.arange(len(distinct))
        for i in np.unique(draft_of[distinct]):
            if i < 0:
                continue
            index = at[drafts[i].classes]
            slots = np.arange(int(counts[index].flat[0])).reshape(-1, *[1] * index.ndim)
            positions = torch.from_numpy(order[start[index][None] + slots])
            drafts[i].axes.append(AxisRef(row.tensor, row.dim, positions, row.conv_groups, row.operator))


def _name(drafts: list[Draft]) -> None:
    """Name each group after the module that computes its units, a group of blocks after its first child."""
    taken: dict[str, int] = {}

    def unique(name: str) -> str:
        taken[name] = taken.get(name, 0) + 1
        return name if taken[name] == 1 else f"{name}#{taken[name]}"

    for draft in drafts:
        source = draft
        if draft.kind:
            source = next(d for d in drafts if d.parent is draft)
        owner, _, leaf = source.axes[0].tensor.rpartition(".")
        base = owner if owner and leaf in ("weight", "bias", "in_proj_weight") else source.axes[0].tensor
        draft.name = unique(f"{base}.{draft.kind}" if draft.kind else base)
