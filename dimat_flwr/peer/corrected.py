"""Local training with the run's correction, and an algorithm's own on top of it."""

from collections.abc import Mapping

from torch import Tensor, nn

from dimat_flwr.algorithms.corrections import LocalCorrection
from dimat_flwr.algorithms.corrections.base import Memory
from dimat_flwr.learning import Correction
from dimat_flwr.peer.learner import Learner


def train_corrected(
    learner: Learner, correction: LocalCorrection, memory: Memory, correct: Correction | None, *, pooled: bool = False
) -> None:
    """Train for the round's epochs or steps.

    Args:
        learner: does it.
        correction: the run's.
        memory: what the correction keeps.
        correct: an algorithm's own; it is given the corrected gradients.
        pooled: on all peers' samples.
    """
    if not correction.corrects:
        learner.train(correct, pooled=pooled)
        return
    change = correction.begin(_parameters(learner.model), memory)
    steps = 0

    def both(x: Mapping[str, Tensor], g: dict[str, Tensor]) -> Mapping[str, Tensor]:
        nonlocal steps
        steps += 1
        changed = change(x, g)
        return changed if correct is None else correct(x, dict(changed))

    learner.train(both, pooled=pooled)
    if steps:
        correction.end(_parameters(learner.model), learner.lr * steps, memory)


def _parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: own.detach().clone() for name, own in model.named_parameters() if own.requires_grad}
