"""What is added to a peer's gradients in its local training, whatever the algorithm; one kind per file."""

from dimat_flwr.algorithms.corrections.base import LocalCorrection

__all__ = ["LocalCorrection"]
