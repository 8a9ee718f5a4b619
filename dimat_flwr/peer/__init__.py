"""One peer's life: its state, what it is asked to do with one message, and running the algorithm."""

from dimat_flwr.peer.messages import handle

__all__ = ["handle"]
