"""The check that cannot lie: permute every group, and the network's output must not change."""

from torch import nn

from dimat_flwr.symmetry.proving.prove import SCALES, Prover
from dimat_flwr.symmetry.spec import PermutationSpec
from dimat_flwr.symmetry.tracing.call import Call, Example


def verify(model: nn.Module, spec: PermutationSpec, example_input: Example) -> float:
    """Return the largest relative change of the network's output when every group is permuted.

    The network itself is run, not its trace, in eval mode and in float64. Its parameters are redrawn first and its
    running statistics measured on the example and redrawn around that, because fresh networks hide errors behind
    BatchNorm's 0 and 1, zero-initialized layers and tiny layer scales. Every unit leaves its place. What only runs in
    training is checked too, with dropout off. The model is left as it was.

    Args:
        model: the network that ``spec`` was found on.
        spec: its specification; one without groups moves nothing and gives 0.
        example_input: as for ``find_permutation_spec``.

    Returns:
        max |permuted - original| / variation of the output over the batch, the largest over the outputs and several
        permutations: about the rounding error of the network if the specification is right, of the order of 1 if it
        is wrong. Infinite where nothing can be said: if an output is not finite, or would not change either if a
        group were permuted wrongly.

    Raises:
        SymmetryError: the network does not run on two samples like the example.
    """
    call = Call.to(model, example_input)
    worst, blind = 0.0, set(spec.groups)
    for scale in SCALES:
        if not blind:
            break
        prover = Prover(model, call, scale)
        worst = max(worst, prover.largest_change(spec))
        blind &= prover.unshown(spec)[0]
    return float("inf") if blind else worst
