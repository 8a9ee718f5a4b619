"""Optimizer state that follows its weights: momentum of a unit that moved must move with it."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from dimat_flwr.merging.check import MergeError, check_row, check_same_architecture
from dimat_flwr.merging.mixing import Mixture
from dimat_flwr.symmetry import Permutation, PermutationSpec

OptimizerState = Mapping[str, Mapping[str, Tensor]]  # such as "exp_avg" -> parameter name -> tensor of its shape


def merge_optimizer(
    mine: OptimizerState,
    neighbours: Sequence[OptimizerState],
    row: Sequence[float],
    spec: PermutationSpec,
    permutations: Sequence[Permutation],
) -> dict[str, dict[str, Tensor]]:
    """Mix optimizer states with the row and permutations that merged their models.

    Args:
        mine: my state: kind of tensor (``"momentum_buffer"``, ``"exp_avg"``, ``"exp_avg_sq"``) -> parameter's name in
            the state dict -> tensor of the parameter's shape. Tensors of other names, such as step counts, are
            mixed without being permuted where they are floating-point, and stay mine otherwise.
        neighbours: the neighbours' states, of the same kinds and names.
        row: mixing weights that sum to 1, mine first.
        spec: the network's permutation groups.
        permutations: one per neighbour, as in ``Merged.permutations``.

    Raises:
        MergeError: the numbers of neighbours, mixing weights and permutations differ, or the states do not fit.
    """
    check_row(row, len(neighbours))
    if len(permutations) != len(neighbours):
        raise MergeError(
            f"{len(permutations)} permutations for {len(neighbours)} neighbours: give one each, spec.identity() for "
            "a neighbour that was not aligned."
        )
    merged = {}
    for kind, tensors in mine.items():
        mixture = Mixture(tensors, row[0])
        for number, (theirs, permutation) in enumerate(zip(neighbours, permutations, strict=True), start=1):
            check_same_architecture(tensors, theirs.get(kind, {}), f"'{kind}' in the optimizer of neighbour {number}")
            mixture.add(spec.apply_to(theirs[kind], permutation), row[number])
        merged[kind] = mixture.result()
    return merged
