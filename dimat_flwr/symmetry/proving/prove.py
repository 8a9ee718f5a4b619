"""Proof of a specification on the network it was found on, and what is done about groups that fail it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from dimat_flwr.seeding import derive_seed
from dimat_flwr.symmetry.errors import SymmetryError
from dimat_flwr.symmetry.permutation import Permutation
from dimat_flwr.symmetry.proving.change import change
from dimat_flwr.symmetry.proving.culprit import first_wrong_operator
from dimat_flwr.symmetry.proving.draws import derangement, redraw_statistics, redrawn_state, repeated, varied
from dimat_flwr.symmetry.proving.running import Runner
from dimat_flwr.symmetry.proving.sensitivity import Sensitivity, gradients, shown_by_running
from dimat_flwr.symmetry.spec import PermutationSpec
from dimat_flwr.symmetry.tracing.call import Call
from dimat_flwr.symmetry.tracing.program import Program

LARGEST_DOUBLE = 320_000_000  # parameters; beyond, copies in float64 do not fit a small machine
SCALES = (1.0, 0.1)  # of the weights; the second is only drawn where the first shows too little
_DRAWS = 2  # permutations
_COPIES = 4  # of each sample, for measuring statistics
_LOUDEST = 1e-3  # the most that rounding may change an output which is still worth looking at


class Prover:
    """A redrawn copy of one network, on which its specifications are tried.

    Attributes:
        limit: the largest change of the output, relative to its variation over the batch, that is rounding.
        passes: how many forward passes there have been.

    Raises:
        SymmetryError: the network does not run on a batch like the example.
    """

    def __init__(self, model: nn.Module, call: Call, scale: float = SCALES[0]):
        self._model = model
        self._call = call
        self._generator = torch.Generator().manual_seed(derive_seed(0, purpose="proof"))
        large = sum(p.numel() for p in model.parameters()) > LARGEST_DOUBLE
        failures: list[str] = []
        # Weights and inputs near the given ones are for networks that take the logarithm or the root of either.
        attempts = [(double, near) for double in ((False,) if large else (True, False)) for near in (False, True)]
        for double, near in attempts:
            self.state = redrawn_state(model, self._generator, scale, double=not large, near=near)
            batch = varied(call, self._generator, near=near)
            self._runner = Runner(model, call, batch, double=double)
            try:
                self._runner.measure_statistics(self.state, repeated(batch, self._generator, _COPIES))
                redraw_statistics(model, self.state, self._generator)
                self._outputs, self._gradients = self._base()
            except Exception as error:  # noqa: BLE001  # the user's code: whatever it raises is reported
                failures.append(f"{type(error).__name__}: {error}")
                continue
            if any(bool(torch.isfinite(x).any()) for x in self._outputs):
                break
            failures.append("its output is not finite, or no tensor")
        else:
            raise SymmetryError(f"the network does not run on two samples like the example: {failures[-1]}")
        self.limit = 1e-7 if self._runner.double else 1e-3

    @property
    def passes(self) -> int:
        """How many forward passes there have been."""
        return self._runner.passes

    def _base(self, *, train: bool = False) -> tuple[list[Tensor], dict[str, Tensor]]:
        try:
            names = frozenset(n for n, _ in self._model.named_parameters(remove_duplicate=False))
            return gradients(self._runner, self.state, names, train=train)
        except RuntimeError:  # a forward pass through which nothing can be differentiated
            return self._runner.model(self.state, train=train), {}

    def departure(self, program: Program) -> float:
        """Return how much a traced program's output differs from the network's own (see ``change``)."""
        try:
            return change(self._outputs, self._runner.program(program, self.state))
        except SymmetryError:
            return float("inf")

    def change(self, spec: PermutationSpec, permutation: Permutation) -> float:
        """Return how much a permutation changes the output, in train mode too where that reads more parameters."""
        moved = self._permuted(spec, permutation)
        found = change(self._outputs, self._runner.model(moved))
        if spec.training_only:
            before, after = (self._runner.model(s, train=True) for s in (self.state, moved))
            found = max(found, change(before, after))
        return found

    def largest_change(self, spec: PermutationSpec) -> float:
        """Return the largest change over several derangements of every group."""
        if not spec.groups:
            return 0.0
        return max(self.change(spec, derangement(spec, self._generator)) for _ in range(_DRAWS))

    def unshown(self, spec: PermutationSpec) -> tuple[set[str], bool]:
        """Return the groups of which a wrong permutation cannot be told from a right one, and whether to look again.

        It is worth looking again, with other weights, where the output hides one of a group's matrices.
        """
        sensitivity = Sensitivity.of(spec, self._gradients, self.state)
        if spec.training_only:
            trained = Sensitivity.of(spec, self._base(train=True)[1], self.state)
            sensitivity = sensitivity.either(trained)
        blind = {n for n, group in spec.groups.items() if n not in sensitivity.shown and group.units > 1}
        blind = {n for n in blind if not shown_by_running(spec, self._runner, self.state, n)}
        return blind, bool(sensitivity.hidden or blind)

    def listen(self) -> None:
        """Raise the limit to a hundred times what rounding does to the output, which very deep networks amplify."""
        generator = torch.Generator().manual_seed(0)
        epsilon = 1e-15 if self._runner.double else 1e-7

        def shaken(tensor: Tensor) -> Tensor:
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor)
            return tensor * (1 + epsilon * noise)

        tied: dict[int, Tensor] = {}  # a tensor under two names stays one
        state = {n: tied.setdefault(id(t), shaken(t) if t.is_floating_point() else t) for n, t in self.state.items()}
        self.limit = max(self.limit, min(100 * change(self._outputs, self._runner.model(state)), _LOUDEST))

    def faulty(self, spec: PermutationSpec) -> list[str]:
        """Return the groups that change the output, found by halving; families of blocks stand or fall together."""
        families = [[n, *(g.name for g in spec.groups.values() if g.parent == n)] for n in spec.groups
                    if spec.groups[n].parent is None]  # fmt: skip
        return [name for family in self._bad(spec, families, []) for name in family]

    def _bad(self, spec: PermutationSpec, families: list[list[str]], good: list[str]) -> list[list[str]]:
        tried = [*good, *(name for family in families for name in family)]
        if self.change(spec, derangement(spec, self._generator, tried)) <= self.limit:
            good.extend(tried[len(good) :])
            return []
        if len(families) == 1:
            return families
        half = len(families) // 2
        return self._bad(spec, families[:half], good) + self._bad(spec, families[half:], good)

    def culprit(self, spec: PermutationSpec, program: Program, names: Sequence[str]) -> str:
        """Return the operator at which the units of these groups stop being a reordering, in words."""
        moved = self._permuted(spec, derangement(spec, self._generator, names))
        return first_wrong_operator(self._runner, program, self.state, moved)

    def _permuted(self, spec: PermutationSpec, permutation: Permutation) -> dict[str, Tensor]:
        return spec.apply_to(self.state, permutation)


def prove_or_narrow(
    prover: Prover, model: nn.Module, call: Call, spec: PermutationSpec, program: Program
) -> PermutationSpec:
    """Return the specification without the groups that fail; warnings say which, and at which operator.

    Every group's units are deranged, twice, in a redrawn copy of the network: the output must not change. It must
    change, to first order, when one tensor alone is permuted; groups whose wrong permutations it hides are tried
    with smaller weights once more, and kept in place if still nothing can be seen of them.
    """
    spec = _without_faulty(prover, spec, program)
    blind, again = prover.unshown(spec) if spec.groups else (set(), False)
    if again:
        smaller = Prover(model, call, SCALES[1])
        spec = _without_faulty(smaller, spec, program)
        blind &= smaller.unshown(spec)[0]
    for family in _families(spec, sorted(blind)):
        spec = without(spec, family, f"the output does not show whether permuting '{family[0]}' is right")
    return spec


def _without_faulty(prover: Prover, spec: PermutationSpec, program: Program) -> PermutationSpec:
    while spec.groups and not prover.largest_change(spec) <= prover.limit:
        prover.listen()
        if prover.largest_change(spec) <= prover.limit:
            break
        faulty = prover.faulty(spec) or list(spec.groups)  # those that only fail together are all left in place
        for family in _families(spec, faulty):
            operator = prover.culprit(spec, program, family)
            spec = without(
                spec, family, f"{operator}: permuting '{family[0]}' changes the output though its rule allows it"
            )
    return spec


def _families(spec: PermutationSpec, names: Sequence[str]) -> Iterator[list[str]]:
    heads = dict.fromkeys(spec.groups[n].parent or n for n in names)
    for head in heads:
        yield [head, *(g.name for g in spec.groups.values() if g.parent == head)]


def without(spec: PermutationSpec, names: Sequence[str], why: str) -> PermutationSpec:
    """Return the specification with some groups kept in place, and a warning that says why."""
    kept = {name: group for name, group in spec.groups.items() if name not in names}
    return replace(spec, groups=kept, warnings=(*spec.warnings, f"{why}; its units are kept in place"))
