"""Align neighbours to me, mix, and make the mix work: the merge step of DIMAT (Saadati et al. 2024, Algorithm 1)."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, Unpack

import torch
from torch import Tensor, nn

from dimat_flwr.merging.activation_matching import MatchingOptions
from dimat_flwr.merging.alignment import Method, find_permutations
from dimat_flwr.merging.batchnorm import device_of, on_device, recalibrate_batchnorm, running_statistics, with_state
from dimat_flwr.merging.check import Batch, MergeError, check_finite, check_row, check_same_architecture
from dimat_flwr.merging.families import share_moved
from dimat_flwr.merging.mixing import Mixture
from dimat_flwr.merging.repair import Repair
from dimat_flwr.symmetry import Permutation, PermutationSpec

State = Mapping[str, Tensor]
Neighbour = State | Callable[[], State]  # a state dict, or what loads it when its turn has come
Mix = Callable[[State, Iterator[State]], dict[str, Tensor]]
BatchNormPolicy = Literal["recalibrate", "average", "keep"]


class MergeOptions(MatchingOptions, total=False):
    """The keyword arguments of ``merge``, explained at ``merge_with_report``; all have defaults."""

    spec: PermutationSpec | None
    batches: Iterable[Batch]
    method: Method
    generator: torch.Generator | None
    batchnorm: BatchNormPolicy
    recalibrate_on: Iterable[Batch] | None
    repair: bool


@dataclass(frozen=True)
class Merged:
    """What came out of a merge.

    Attributes:
        state: the merged state dict, on the model's device, sharing no memory with what went in.
        permutations: per neighbour, how its units were reordered; empty for method ``"none"``.
        moved: per neighbour, the share of its units that changed place (``share_moved``), likewise.
    """

    state: dict[str, Tensor]
    permutations: tuple[Permutation, ...]
    moved: tuple[float, ...]


def merge(
    model: nn.Module,
    mine: State,
    neighbours: Iterable[Neighbour],
    row: Sequence[float],
    **options: Unpack[MergeOptions],
) -> dict[str, Tensor]:
    """Return the merged state dict alone; arguments and errors are those of ``merge_with_report``."""
    return merge_with_report(model, mine, neighbours, row, **options).state


def merge_with_report(
    model: nn.Module,
    mine: State,
    neighbours: Iterable[Neighbour],
    row: Sequence[float],
    *,
    spec: PermutationSpec | None = None,
    batches: Iterable[Batch] = (),
    method: Method = "activation",
    generator: torch.Generator | None = None,
    batchnorm: BatchNormPolicy = "recalibrate",
    recalibrate_on: Iterable[Batch] | None = None,
    repair: bool = False,
    **matching: Unpack[MatchingOptions],
) -> Merged:
    """Merge my model with my neighbours': ``align_and_mix``, then what becomes of BatchNorm's running statistics.

    Args:
        model: see ``align_and_mix``, like ``mine``, ``neighbours``, ``row``, ``spec``, ``batches``, ``method``,
            ``generator``, ``repair`` and ``matching``.
        mine: my state dict.
        neighbours: the neighbours' state dicts.
        row: my row of the mixing matrix.
        spec: the network's permutation groups.
        batches: my input batches.
        method: how neighbours are aligned.
        generator: a CPU generator, for weight matching; None: see ``match_weights``.
        batchnorm: ``"recalibrate"`` the running statistics on my data, ``"average"`` them like weights, or ``"keep"``
            mine.
        recalibrate_on: the batches to recalibrate on; None: a quarter of ``batches``, spread evenly. A channel's mean
            and variance need fewer samples than matching does, and each sample costs a forward pass: on Fashion-MNIST,
            100 and 1000 images gave the same accuracy within 1 %.
        repair: restore the hidden units' variance.
        **matching: the settings of activation matching.

    Raises:
        MergeError: see ``align_and_mix`` and ``recalibrate_batchnorm``.
    """
    running = running_statistics(model)
    merged = align_and_mix(
        model,
        mine,
        neighbours,
        row,
        spec=spec,
        batches=batches,
        method=method,
        generator=generator,
        keep=running if batchnorm == "keep" else (),
        repair=repair,
        **matching,
    )
    if batchnorm == "recalibrate" and running:
        chosen = _quarter_of(batches) if recalibrate_on is None else recalibrate_on
        recalibrate_batchnorm(with_state(model, merged.state), chosen)
    return merged


def align_and_mix(
    model: nn.Module,
    mine: State,
    neighbours: Iterable[Neighbour],
    row: Sequence[float],
    *,
    spec: PermutationSpec | None = None,
    batches: Iterable[Batch] = (),
    method: Method = "activation",
    generator: torch.Generator | None = None,
    keep: Collection[str] = (),
    repair: bool = False,
    mix: Mix | None = None,
    **matching: Unpack[MatchingOptions],
) -> Merged:
    """Return w_0 x_mine + sum_j w_j P_j x_j, all tensors mixed alike: BatchNorm's statistics are not yet true of it.

    Nothing handed in is changed. A list of state dicts is matched in one pass over the batches that computes my
    activations once for all. Any other iterable, and a list with functions in it, is taken one neighbour at a time:
    then no more than my model, one neighbour's and the mix are in memory, but my forward pass is repeated for each.

    Args:
        model: gives the device, the architecture and the BatchNorm layers; its own weights are not used.
        mine: my state dict.
        neighbours: the neighbours' state dicts, on any device, or functions that load them.
        row: my row of the mixing matrix, which sums to 1: my own weight first, then one per neighbour.
        spec: the network's permutation groups; needed by every method but ``"none"``, and by ``repair``.
        batches: my input batches, as a list or data loader that can be read several times.
        method: how neighbours are aligned, ``"activation"``, ``"weight"``, ``"weight_from_activation"`` or ``"none"``;
            see ``align``.
        generator: a CPU generator, for weight matching; None: see ``match_weights``.
        keep: names of tensors that stay mine in the sum.
        repair: restore the hidden units' variance (``Repair``), for networks without BatchNorm.
        mix: makes one state dict of mine and the aligned ones, which are aligned while it takes them, in the
            neighbours' order; it must take them all. None: the sum.
        **matching: the settings of activation matching (``match_activations``).

    Raises:
        MergeError: the state dicts do not fit each other or hold NaN, row and neighbours do not fit, or what the
            method needs is missing.
    """
    check_row(row, len(neighbours) if isinstance(neighbours, Sequence) else None)
    check_same_architecture(model.state_dict(), mine, "my state dict")
    check_finite(mine, "my model")
    if spec is None and (method != "none" or repair):
        raise MergeError("aligning and variance repair need spec=find_permutation_spec(model, example_input).")
    device = device_of(model)
    ours = on_device(mine, device)
    repairing = Repair(model, spec, batches) if repair and spec is not None else None
    if repairing is not None:
        repairing.add_ancestor(ours, row[0])
    permutations: list[Permutation] = []
    number = 0

    def take_in(together: Sequence[State], before: int) -> Iterator[State]:
        found: Sequence[Permutation] = []
        _check_neighbours(ours, together, before, len(row) - 1)
        if method != "none" and spec is not None:
            found = find_permutations(
                model, ours, together, spec, batches, method=method, generator=generator, **matching
            )
            permutations.extend(found)
        for offset, theirs in enumerate(together):
            aligned = spec.apply(theirs, found[offset]) if found and spec is not None else theirs
            if repairing is not None:
                repairing.add_ancestor(on_device(aligned, device), row[before + offset + 1])
            yield aligned

    def all_aligned() -> Iterator[State]:
        nonlocal number
        for together in _together(neighbours):
            yield from take_in(together, number)
            number += len(together)

    def summed(ours: State, aligned: Iterator[State]) -> dict[str, Tensor]:
        mixture, weights = Mixture(ours, row[0], keep=keep), iter(row[1:])
        for theirs in aligned:
            mixture.add(theirs, next(weights))
            del theirs  # so that nobody holds this one while the next is loaded
        return mixture.result()

    mixed = (mix or summed)(ours, all_aligned())
    check_row(row, number)
    if repairing is not None:
        mixed = repairing.correct(mixed)
    return Merged(mixed, tuple(permutations), tuple(share_moved(permutation) for permutation in permutations))


def _together(neighbours: Iterable[Neighbour]) -> Iterator[list[State]]:
    """Yield the neighbours that are in memory anyway all together, others one by one as they are loaded."""
    if isinstance(neighbours, Sequence) and all(isinstance(neighbour, Mapping) for neighbour in neighbours):
        yield [neighbour for neighbour in neighbours if isinstance(neighbour, Mapping)]
    else:
        for neighbour in neighbours:
            one = [neighbour if isinstance(neighbour, Mapping) else neighbour()]
            del neighbour
            yield one
            one.clear()  # so that nobody holds this one while the next is loaded


def _check_neighbours(ours: State, together: Sequence[State], before: int, expected: int) -> None:
    if before + len(together) > expected:
        raise MergeError(f"there are more neighbours than weights for them, {expected}: give {expected + 1} or more.")
    for number, theirs in enumerate(together, start=before + 1):
        check_same_architecture(ours, theirs, f"neighbour {number}")
        check_finite(theirs, f"neighbour {number}")


def _quarter_of(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield every fourth batch, the first among them."""
    return islice(iter(batches), 0, None, 4)
