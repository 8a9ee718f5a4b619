"""Two values contracted with each other, such as queries with keys."""

from dataclasses import replace

import numpy as np

from dimat_flwr.symmetry.constraints.atoms import FIXED, Ints
from dimat_flwr.symmetry.constraints.join import Operand, as_value, blocks_over, meet, tie_along
from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.constraints.value import Value


def contract(left: Operand, right: Operand, equation: tuple[str, str, str], ledger: Ledger) -> Value:
    """Return the contraction of two values by an einsum such as ``("bhnd", "bhmd", "bhnm")``.

    Places contracted with each other move together; if they lie in several batches (heads), each batch is a block of
    them, and the result's batch dims move as the blocks do.
    """
    a_letters, b_letters, out = equation
    summed = "".join(c for c in a_letters if c in b_letters and c not in out)
    common = "".join(c for c in out if c in a_letters and c in b_letters) + summed
    a = _one_order(as_value(left, ledger), a_letters, common, summed, ledger)
    b = _one_order(as_value(right, ledger), b_letters, common, summed, ledger)
    sides = [_paired(x, letters, common, summed, ledger) for x, letters in ((a, a_letters), (b, b_letters))]
    if sides[0].varying or sides[1].varying:
        ledger.observe(meet(sides[0], sides[1], ledger))
    sizes: dict[str, int] = {}
    for letter, size in (*zip(a_letters, a.shape, strict=True), *zip(b_letters, b.shape, strict=True)):
        sizes[letter] = max(size, sizes.get(letter, 1))
    pieces = [_piece(x, letters, summed, out, ledger) for x, letters in ((a, a_letters), (b, b_letters))]
    result = meet(pieces[0], pieces[1], ledger, "heads")
    roles = ledger.combine(pieces[0].roles, pieces[1].roles)
    return Value(tuple(sizes[c] for c in out), result.atoms, roles, result.spread)


def _one_order(value: Value, letters: str, common: str, summed: str, ledger: Ledger) -> Value:
    """Tie the places along a value's own dims if it also moves along summed ones: one order must serve all rows."""
    inside = {d for d in value.varying if letters[d] in summed}
    own = [d for d in value.varying if letters[d] not in common]
    return tie_along(value, own, ledger) if inside and own else value


def _paired(value: Value, letters: str, common: str, summed: str, ledger: Ledger) -> Value:
    """Return what the other side meets along the common dims; what does not move along summed ones pins them."""
    own = frozenset(d for d, c in enumerate(letters) if c not in common)
    value = replace(value, roles=ledger.collapse_roles(value.roles, own))
    if not any(letters[d] in summed for d in value.varying):
        still = np.full((1,) * len(value.shape), FIXED, np.int64)
        value = replace(
            value, atoms=still, spread=tuple(s and c in summed for s, c in zip(value.spread, letters, strict=True))
        )
    return _arranged(value, letters, common)


def _piece(value: Value, letters: str, summed: str, out: str, ledger: Ledger) -> Value:
    """Return what the value gives to the result: its own atoms, or its blocks where its atoms are summed away."""
    value = ledger.settle(value)
    gone = frozenset(d for d, c in enumerate(letters) if c in summed)
    atoms = blocks_over(value, gone, "heads", ledger) if value.varying & gone else value.atoms
    roles = ledger.collapse_roles(value.roles, gone)
    return _arranged(replace(value, atoms=atoms, roles=roles), letters, out)


def _arranged(value: Value, letters: str, wanted: str) -> Value:
    """Return the value with its dims in the order of ``wanted``: dims not wanted (of one atom) go, new ones come."""
    dims = [letters.index(c) for c in wanted if c in letters]

    def move(array: Ints) -> Ints:
        gone = tuple(d for d in range(len(letters)) if d not in dims)
        kept = array.transpose([*gone, *dims]).reshape([array.shape[d] for d in dims])
        return kept.reshape([array.shape[letters.index(c)] if c in letters else 1 for c in wanted])

    shape = tuple(value.shape[letters.index(c)] if c in letters else 1 for c in wanted)
    spread = tuple(c in letters and value.spread[letters.index(c)] for c in wanted)
    return Value(shape, move(value.atoms), move(value.roles), spread)
