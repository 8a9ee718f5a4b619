"""Align neighbours' networks to mine, mix them, and make the mix work on my data."""

from dimat_flwr.merging.activations import MatchingOptions, Taps, match_activations, match_neighbours
from dimat_flwr.merging.alignment import Method, align
from dimat_flwr.merging.batchnorm import recalibrate_batchnorm
from dimat_flwr.merging.check import Batch, MergeError
from dimat_flwr.merging.families import share_moved
from dimat_flwr.merging.merge_step import (
    BatchNormPolicy,
    Merged,
    MergeOptions,
    Neighbour,
    merge,
    merge_with_report,
)
from dimat_flwr.merging.mixing import Mixture
from dimat_flwr.merging.moments import Statistic
from dimat_flwr.merging.optimizer import OptimizerState, merge_optimizer
from dimat_flwr.merging.weights import match_weights

__all__ = [
    "Batch",
    "BatchNormPolicy",
    "MatchingOptions",
    "MergeError",
    "MergeOptions",
    "Merged",
    "Method",
    "Mixture",
    "Neighbour",
    "OptimizerState",
    "Statistic",
    "Taps",
    "align",
    "match_activations",
    "match_neighbours",
    "match_weights",
    "merge",
    "merge_optimizer",
    "merge_with_report",
    "recalibrate_batchnorm",
    "share_moved",
]
