"""Data sets that can be loaded, and how their training samples are split among the peers."""

from dimat_flwr.data.dataset import Dataset
from dimat_flwr.data.errors import DataError, PartitionError
from dimat_flwr.data.partitions.base import Partition
from dimat_flwr.data.source import DataSource

__all__ = ["DataError", "DataSource", "Dataset", "Partition", "PartitionError"]
