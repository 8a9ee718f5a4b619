"""The ledger of a symbolic execution: which atoms lie on which tensor axes, and which belong to which blocks."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dimat_flwr.symmetry.constraints.atoms import FIXED, UNIFORM, Atoms, Ints
from dimat_flwr.symmetry.constraints.param import Param
from dimat_flwr.symmetry.constraints.value import Shape, Value, compress, line


@dataclass(eq=False)
class AxisRecord:
    """The atoms along one tensor axis.

    Attributes:
        tensor: the tensor's name.
        dim: the axis; for a grouped convolution's per-group axis, ``conv_groups`` > 1.
        atoms: one atom per place along the axis (for ``conv_groups`` > 1, along all groups one after the other).
        roles: what the uses of the axis found there: places of one class in different roles differ.
    """

    tensor: str
    dim: int
    conv_groups: int
    operator: str
    atoms: Ints
    roles: Ints


@dataclass(eq=False)
class ElementRecord:
    """The atoms of every element of a tensor that is used as a value, such as a positional embedding.

    Attributes:
        tensor: the tensor's name.
        atoms: one per element.
        roles: as in ``AxisRecord``.
        used: which elements the network has read.
    """

    tensor: str
    operator: str
    atoms: Ints
    roles: Ints
    used: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Meeting:
    """Atoms that an operator tied to each other one by one; pairs with different ``roles`` met differently."""

    left: Ints
    right: Ints
    roles: Ints


@dataclass(frozen=True, eq=False)
class Membership:
    """Atom by atom: ``members`` stay within the block they are in, and move when it moves.

    Attributes:
        kind: what the blocks are, such as ``heads``.
        roles: in what role each member is in its block.
    """

    kind: str
    members: Ints
    blocks: Ints
    roles: Ints


@dataclass(frozen=True, eq=False)
class Observation:
    """Atoms consumed by an operator that mixes them, which tells them from atoms consumed elsewhere."""

    atoms: Ints
    roles: Ints


@dataclass
class Ledger:
    """Everything the rules write down; ``operator`` names the graph node being executed."""

    shapes: dict[str, Shape]
    atoms: Atoms = field(default_factory=Atoms)
    axes: dict[tuple[str, int, int], AxisRecord] = field(default_factory=dict)
    elements: dict[str, ElementRecord] = field(default_factory=dict)
    meetings: list[Meeting] = field(default_factory=list)
    memberships: list[Membership] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)
    operator: str = ""
    _roles: int = 1

    # -- atoms -------------------------------------------------------------------------------------------------

    def axis(self, tensor: str, dim: int, conv_groups: int = 1) -> AxisRecord:
        """Return the record of a tensor's axis, with fresh atoms at its first use."""
        key = (tensor, dim, conv_groups)
        self.used.add(tensor)
        if key not in self.axes:
            atoms = self.atoms.new((self.shapes[tensor][dim] * conv_groups,))
            self.axes[key] = AxisRecord(tensor, dim, conv_groups, self.operator, atoms, np.zeros_like(atoms))
        return self.axes[key]

    def element_record(self, tensor: str) -> AxisRecord | ElementRecord:
        """Return the record of a tensor's elements; for a vector that is its only axis."""
        shape = self.shapes[tensor]
        self.used.add(tensor)
        if len(shape) == 1:
            return self.axis(tensor, 0)
        if tensor not in self.elements:
            atoms = self.atoms.new(shape)
            nothing = np.zeros(shape, np.bool_)
            self.elements[tensor] = ElementRecord(tensor, self.operator, atoms, np.zeros_like(atoms), nothing)
        return self.elements[tensor]

    def tie_axis(self, record: AxisRecord, index: Ints, atoms: Ints, roles: Ints) -> None:
        """Write down that the places ``index`` of an axis meet these atoms in these roles (both of index's shape)."""
        self.tie(record.atoms[index], atoms, np.asarray(roles))
        if len(index) < len(record.atoms) or compress(np.asarray(roles)).size > 1:
            record.roles[index] = self.combine(record.roles[index], np.broadcast_to(roles, index.shape))

    def tie(self, left: Ints, right: Ints, roles: Ints) -> None:
        """Make atoms move together (broadcasting), and remember who met whom in which role."""
        roles = self._collapsed(roles, left, right)
        left, right, roles = np.broadcast_arrays(left, right, roles)
        movable = (left > UNIFORM) & (right > UNIFORM)
        self.meetings.append(Meeting(left[movable], right[movable], roles[movable]))
        self.atoms.union(left, right)

    def fix(self, atoms: Ints) -> None:
        """Keep these atoms in place."""
        self.atoms.union(atoms, np.int64(FIXED))  # type: ignore[arg-type]

    def freeze(self, tensor: str) -> None:
        """Keep a tensor as it is along all its axes."""
        self.used.add(tensor)
        self.frozen.add(tensor)

    def put_in_blocks(self, kind: str, members: Ints, blocks: Ints, roles: Ints) -> None:
        """Write down that each member stays, in its role, within its block (broadcasting)."""
        roles = self._collapsed(roles, members, blocks)
        members, blocks, roles = np.broadcast_arrays(members, blocks, roles)
        movable = (members != UNIFORM) & (blocks != UNIFORM)
        self.memberships.append(Membership(kind, members[movable], blocks[movable], roles[movable]))

    def observe(self, value: Value) -> None:
        """Write down that the current operator mixes the value's atoms."""
        atoms, roles = np.broadcast_arrays(value.atoms, self._collapsed(value.roles, value.atoms))
        self.observations.append(Observation(atoms.reshape(-1).copy(), self.refresh(roles.reshape(-1))))

    def warn(self, message: str) -> None:
        """Keep a warning, once."""
        if message not in self.warnings:
            self.warnings.append(message)

    # -- roles -------------------------------------------------------------------------------------------------

    def refresh(self, roles: Ints) -> Ints:
        """Return fresh role ids, equal where the given ones are."""
        return self.combine(roles)

    def combine(self, *roles: Ints) -> Ints:
        """Return fresh role ids for tuples of roles (broadcasting), equal where the tuples are."""
        if all(r.size == 1 for r in roles):
            shape = np.broadcast_shapes(*(r.shape for r in roles))
            self._roles += 1
            return np.full(shape, self._roles - 1, np.int64)
        arrays = np.broadcast_arrays(*roles)
        code = np.zeros(arrays[0].shape, np.int64)
        for array in arrays:
            distinct, inverse = np.unique(array, return_inverse=True)
            _, code = np.unique(code * len(distinct) + inverse.reshape(code.shape), return_inverse=True)
            code = code.reshape(array.shape)
        fresh = code + self._roles
        self._roles += int(code.max()) + 1 if code.size else 0
        return compress(fresh)

    def collapse_roles(self, roles: Ints, dims: frozenset[int]) -> Ints:
        """Return roles of size 1 along ``dims``: equal where the whole slices are."""
        gone = sorted(d for d in dims if roles.shape[d] > 1)
        if not gone:
            return roles
        kept = [d for d in range(roles.ndim) if d not in gone]
        if all(roles.shape[d] == 1 for d in kept):
            return self.refresh(np.zeros((1,) * roles.ndim, np.int64))
        rows = roles.transpose([*kept, *gone]).reshape(int(np.prod([roles.shape[d] for d in kept])), -1)
        _, inverse = np.unique(rows, axis=0, return_inverse=True)
        return self.refresh(inverse.reshape([1 if d in gone else size for d, size in enumerate(roles.shape)]))

    def _collapsed(self, roles: Ints, *atoms: Ints) -> Ints:
        """Return one role for all places along the dims where no atom changes: the atoms met in all of these."""
        rank = roles.ndim
        if any(a.ndim != rank for a in atoms):
            return roles
        return self.collapse_roles(roles, frozenset(d for d in range(rank) if all(a.shape[d] == 1 for a in atoms)))

    # -- values ------------------------------------------------------------------------------------------------

    def settle(self, value: Value) -> Value:
        """Return the value with every dim along which nothing moves reduced to size 1.

        The atoms stay what they are, so that it remains known which of a class's places is which; where different
        ones give way to one, their place along the dim becomes part of the role.
        """
        classes = self.atoms.find(value.atoms)
        atoms = np.where(classes == FIXED, FIXED, value.atoms)
        roles = value.roles
        for d, size in enumerate(atoms.shape):
            if size > 1 and (classes == classes.take([0], axis=d)).all():
                if (atoms != atoms.take([0], axis=d)).any():
                    roles = self.combine(roles, line(size, d, atoms.ndim))
                classes, atoms = classes.take([0], axis=d), atoms.take([0], axis=d)
        return Value(value.shape, atoms, roles, value.spread)

    def neutral(self, shape: Shape) -> Value:
        """Return a value that never moves and may vary along every dim."""
        ones = (1,) * len(shape)
        roles = self.refresh(np.zeros(ones, np.int64))
        return Value(shape, np.full(ones, FIXED, np.int64), roles, tuple(size > 1 for size in shape))

    def param_value(self, param: Param) -> Value:
        """Return a parameter as a value: one atom per element; a single element never moves."""
        shape = param.shape
        spread = tuple(size > 1 for size in shape)
        if int(np.prod(param.full_shape, dtype=np.int64)) == 1:
            self.used.add(param.name)
            return self.neutral(shape)
        record = self.element_record(param.name)
        if isinstance(record, ElementRecord):
            record.used.reshape(-1)[param.element_ids()] = True
        atoms = record.atoms.reshape(-1)[param.element_ids()]
        roles = record.roles.reshape(-1)[param.element_ids()]
        return Value(shape, atoms, compress(roles) if roles.ndim else roles, spread)

    def note_use(self, param: Param, roles: Ints) -> None:
        """Write down the roles that a parameter's elements meet in an elementwise operator."""
        if int(np.prod(param.full_shape, dtype=np.int64)) > 1:
            known = self.element_record(param.name).roles.reshape(-1)
            ids = param.element_ids()
            known[ids] = self.combine(known[ids], roles)
