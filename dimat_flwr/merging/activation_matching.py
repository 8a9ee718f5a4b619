"""Activation matching: which of the neighbour's units does what each of mine does, on my data.

Sources: Ainsworth, Hayase and Srinivasa 2022, Git Re-Basin (https://arxiv.org/abs/2209.04836) sec. 3.1; Saadati et al.
2024, DIMAT (https://arxiv.org/abs/2404.08079) sec. 3.1; the correlation statistic is that of Li et al. 2015, Convergent
Learning (https://arxiv.org/abs/1511.07543).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, TypedDict

import torch
from torch import Tensor, nn

from dimat_flwr.merging.batchnorm import device_of, inputs_on, on_device
from dimat_flwr.merging.check import Batch, MergeError, check_finite, check_same_architecture, nonempty
from dimat_flwr.merging.families import Family, families, match_family, share_changed
from dimat_flwr.merging.indistinct import find_indistinct, settle_indistinct
from dimat_flwr.merging.moments import Centred, CrossMoments, Statistic, centre
from dimat_flwr.merging.portion import Portion
from dimat_flwr.symmetry import Group, Permutation, PermutationSpec, Tap

Taps = Literal["all", "last"]
_Sets = tuple[list[Tensor], list[Tensor]]


class MatchingOptions(TypedDict, total=False):
    """The settings of activation matching, explained at ``match_activations``; all have defaults."""

    statistic: Statistic
    taps: Taps
    stickiness: float
    early_stop: float | None


def match_activations(
    model: nn.Module,
    mine: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    spec: PermutationSpec,
    batches: Iterable[Batch],
    *,
    statistic: Statistic = "correlation",
    taps: Taps = "all",
    stickiness: float = 0.0,
    early_stop: float | None = None,
) -> Permutation:
    """Find the order of the neighbour's units in which they act most like mine on the batches.

    For every group, C[u, v] is the cross-statistic of my unit u and the neighbour's unit v over samples and positions,
    summed over the group's taps, and the permutation p maximizes sum_u C[u, p[u]]. Attention heads (and groups of a
    convolution) are matched as wholes by the best their units can reach, then the units within. Units that the batches
    cannot tell apart, such as dead ones, are ordered by their weights, which changes no score. Both networks run once
    per batch, in eval mode, on the model's device.

    Args:
        model: gives the device and the architecture; its own weights are not used.
        mine: my state dict.
        theirs: the neighbour's state dict.
        spec: the network's permutation groups.
        batches: my input batches.
        statistic: ``"correlation"`` or ``"covariance"``.
        taps: ``"all"`` places where a group is visible, or the ``"last"`` of each group.
        stickiness: keep a group as it is unless the best order gains more than this share of its score.
        early_stop: stop reading batches once one changed the places of at most this share of the units, 0 <= share < 1
            (0: of none); None reads all.

    Returns:
        ``aligned = spec.apply(theirs, permutation)`` is the neighbour's network in my order.

    Raises:
        MergeError: the state dicts do not fit, there are no batches, or activations are not finite.
    """
    found = match_neighbours(
        model,
        mine,
        [theirs],
        spec,
        batches,
        statistic=statistic,
        taps=taps,
        stickiness=stickiness,
        early_stop=early_stop,
    )
    return found[0]


def match_neighbours(
    model: nn.Module,
    mine: Mapping[str, Tensor],
    neighbours: Sequence[Mapping[str, Tensor]],
    spec: PermutationSpec,
    batches: Iterable[Batch],
    *,
    statistic: Statistic = "correlation",
    taps: Taps = "all",
    stickiness: float = 0.0,
    early_stop: float | None = None,
) -> list[Permutation]:
    """Match several neighbours at once: my activations of a batch are computed once and shared.

    Arguments, result (one permutation per neighbour) and errors are those of ``match_activations``.
    """
    if stickiness < 0 or (early_stop is not None and not 0 <= early_stop < 1):
        raise MergeError(
            f"stickiness must be >= 0 and 0 <= early_stop < 1, but they are {stickiness} and {early_stop}."
        )
    check_same_architecture(model.state_dict(), mine, "my state dict")
    check_finite(mine, "my model")
    for number, theirs in enumerate(neighbours, start=1):
        check_same_architecture(mine, theirs, f"neighbour {number}")
        check_finite(theirs, f"neighbour {number}")
    if not neighbours:
        return []

    device = device_of(model)
    watched = {tap for group in spec.groups.values() for tap in (group.taps if taps == "all" else group.taps[-1:])}
    ours = on_device(mine, device)
    pairs = [_Pair(on_device(theirs, device)) for theirs in neighbours]
    joint = families(spec)
    portion = Portion(ours, device)
    latest: list[Permutation] | None = None
    with torch.no_grad():
        for batch in nonempty(batches, "activation matching"):
            for part in portion.parts(inputs_on(batch, device)):
                portion.held = _observe(spec, watched, ours, pairs, part)
            if early_stop is not None:
                found = [pair.permutation(spec, joint, statistic, stickiness) for pair in pairs]
                changed = 1.0 if latest is None else max(map(share_changed, latest, found))
                latest = found
                if changed <= early_stop:
                    break
        settled = []
        while pairs:
            pair, alike = pairs.pop(0), dict[str, _Sets]()  # its statistics go when its order is known
            order = pair.permutation(spec, joint, statistic, stickiness, alike)
            settled.append(settle_indistinct(ours, pair.state, spec, order, alike))
        return settled


class _Pair:
    """One neighbour's state dict, and the statistics of my units and its at every tap seen so far."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state
        self._moments: dict[Tap, CrossMoments] = {}

    def add(self, tap: Tap, mine: Centred, theirs: Centred) -> None:
        if tap not in self._moments:
            values = theirs.values
            self._moments[tap] = CrossMoments(len(values), values.dtype, values.device)
        self._moments[tap].add(mine, theirs)

    def permutation(
        self,
        spec: PermutationSpec,
        joint: Sequence[Family],
        statistic: Statistic,
        stickiness: float,
        alike: dict[str, _Sets] | None = None,
    ) -> Permutation:
        """Return the best assignment by the statistics so far.

        ``alike``, if given, takes in which units the statistics cannot tell apart, per group: mine, and theirs.
        """
        orders: dict[str, Tensor] = {}
        precision = max((moments.precision for moments in self._moments.values()), default=0.0)
        for family in joint:
            scores = {group.name: self._scores(group, statistic) for group in family.groups}
            orders.update(match_family(family, lambda group: scores[group.name], stickiness))  # noqa: B023
            for group in family.groups:
                if alike is not None and (found := scores[group.name]) is not None:
                    own, others = (find_indistinct(side, precision, group.blocks or 1) for side in (found, found.T))
                    alike[group.name] = (own, others)
        return spec.permutation(orders)

    def _scores(self, group: Group, statistic: Statistic) -> Tensor | None:
        """Return C (N, N) of a group, summed over its taps; None if it has none."""
        total: Tensor | None = None
        for tap in group.taps:
            if tap in self._moments:
                found = self._moments[tap].statistic(statistic)
                total = found if total is None else total.add_(found)
        if total is not None and not bool(torch.isfinite(total).all()):
            raise MergeError(
                f"the activations of group '{group.name}' are NaN or infinite on the matching batches: "
                "check that the batches are finite and normalized as in training, or use method='weight'."
            )
        return total


def _observe(
    spec: PermutationSpec,
    watched: Collection[Tap],
    ours: Mapping[str, Tensor],
    pairs: Sequence[_Pair],
    inputs: tuple[Tensor, ...],
) -> int:
    """Run my network, then every neighbour's, and compare each with mine; return the bytes held of mine."""
    mine: dict[Tap, Centred] = {}

    def keep(tap: Tap, activation: Tensor) -> None:
        if tap in watched:
            mine[tap] = centre(_flat(tap, activation))

    spec.traced.run(ours, inputs, keep)
    for pair in pairs:

        def compare(tap: Tap, activation: Tensor, pair: _Pair = pair) -> None:
            if tap in watched:
                pair.add(tap, mine[tap], centre(_flat(tap, activation)))

        spec.traced.run(pair.state, inputs, compare)
    return sum(centred.values.nbytes for centred in mine.values())


def _flat(tap: Tap, activation: Tensor) -> Tensor:
    """Return (samples, all units, positions); units inside blocks come block by block."""
    return tap.units(activation).flatten(1, -2)
