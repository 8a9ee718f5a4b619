"""Cycle-consistent matching of several models: every model is permuted into one universe, all at once.

Source: Crisostomi, Fumero, Baieri, Bernard and Rodola 2024, C2M3 (https://arxiv.org/abs/2405.17897), section 3: with
P_p into the universe, models p and q are related by P_p and the inverse of P_q, so going round a circle of models is
the identity by construction. P maximizes f(P) = sum over pairs p < q of <P_p x_p, P_q x_q>. Frank-Wolfe climbs on the
doubly stochastic relaxation, in all layers and all models simultaneously: the direction is the vertex that maximizes
the linearization, one linear assignment per model and group, and the step the exact maximum of f on the segment, where
f is a polynomial. The matrices found are projected to the nearest permutations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dimat_flwr.merging.check import MergeError
from dimat_flwr.merging.families import Family, families, match_family
from dimat_flwr.merging.relaxed import Matrices, Relaxation, one_hot
from dimat_flwr.symmetry import Permutation, PermutationSpec

_SMALLEST_GAIN = 1e-6  # of the objective, relative: smaller steps are left


@dataclass(frozen=True)
class Ascent:
    """What Frank-Wolfe found.

    Attributes:
        permutations: one per model, into the universe.
        objective: f at the permutations.
        trace: f of the relaxed problem after every step, the start's first; it never falls.
    """

    permutations: tuple[Permutation, ...]
    objective: float
    trace: tuple[float, ...]


def frank_wolfe(
    states: Sequence[Mapping[str, Tensor]],
    spec: PermutationSpec,
    init: Sequence[Permutation] | None = None,
    max_steps: int = 100,
) -> Ascent:
    """Permute all models into one universe so that they agree most with each other, pair by pair.

    From the identity the result does not depend on the order of the models.

    Args:
        states: the models' K state dicts, of one architecture.
        spec: the network's permutation groups.
        init: where to start, one permutation per model; None: the identities, as in the paper.
        max_steps: stop after this many steps, each of which costs about as much as K sweeps of weight matching.

    Returns:
        The permutations; never worse than the start.

    Raises:
        MergeError: ``max_steps`` is below 1.
    """
    if max_steps < 1:
        raise MergeError(f"max_steps must be >= 1, but it is {max_steps}.")
    start = [spec.identity() for _ in states] if init is None else list(init)
    relaxation, joint = Relaxation(states, spec), families(spec)
    point: list[Matrices] = [one_hot(relaxation.indices(permutation)) for permutation in start]
    trace = [relaxation.objective(point)]
    for _ in range(max_steps):
        vertices = [_best_vertex(spec, joint, slopes) for slopes in relaxation.gradient(point)]
        targets = [relaxation.indices(vertex) for vertex in vertices]
        step, reached = _highest(relaxation.along(point, targets))
        if reached <= trace[-1] + _SMALLEST_GAIN * abs(trace[-1]):
            break
        point = [
            {name: (1 - step) * matrix + step * corner[name] for name, matrix in own.items()}
            for own, corner in zip(point, map(one_hot, targets), strict=True)
        ]
        trace.append(reached)
    projected = [_best_vertex(spec, joint, own) for own in point]
    objective = relaxation.objective([one_hot(relaxation.indices(permutation)) for permutation in projected])
    if objective < trace[0]:  # the projection can lose more than the ascent gained
        projected, objective = start, trace[0]
    return Ascent(tuple(projected), objective, tuple(trace))


def _best_vertex(spec: PermutationSpec, joint: Sequence[Family], scores: Mapping[str, Tensor]) -> Permutation:
    """Return the permutation P that maximizes the sum over groups of <scores, P>."""
    orders: dict[str, Tensor] = {}
    for family in joint:
        orders.update(match_family(family, lambda group: scores.get(group.name)))
    return spec.permutation(orders)


def _highest(polynomial: np.polynomial.Polynomial) -> tuple[float, float]:
    """Return where in [0, 1] a polynomial is largest, and its value there."""
    turns = np.asarray(polynomial.deriv().roots(), dtype=np.complex128)
    real = turns.real[np.abs(turns.imag) < 1e-9]
    inside = [float(root) for root in real[(real > 0) & (real < 1)]]
    best = max((0.0, 1.0, *inside), key=lambda a: float(polynomial(a)))
    return best, float(polynomial(best))
