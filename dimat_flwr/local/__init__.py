"""The same app in one process, without Flower's transport: for debugging, small experiments and tests."""

from dimat_flwr.local.post import LocalPost

__all__ = ["LocalPost"]
