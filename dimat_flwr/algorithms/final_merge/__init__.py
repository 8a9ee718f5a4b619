"""What follows the last round: nothing, or one more merge of all peers' models; one kind per file."""

from dimat_flwr.algorithms.final_merge.base import FinalMerge

__all__ = ["FinalMerge"]
