"""How a peer makes one model of its own and its neighbours', some of whom may lie; one rule per file."""

from dimat_flwr.algorithms.aggregations.base import Aggregated, Aggregation

__all__ = ["Aggregated", "Aggregation"]
