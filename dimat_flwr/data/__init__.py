"""Data sets: loading them, what they ask of a network, and how training samples are split among the peers."""

from dimat_flwr.data.augmentation import Augmentation
from dimat_flwr.data.dataset import Dataset
from dimat_flwr.data.errors import DataError, PartitionError, TaskError
from dimat_flwr.data.images import ImageSource
from dimat_flwr.data.kept import Kept
from dimat_flwr.data.partitions.base import Partition
from dimat_flwr.data.source import PLACE, DataSource
from dimat_flwr.data.tables import TableSource
from dimat_flwr.data.task import Classification, Task

__all__ = [
    "PLACE",
    "Augmentation",
    "Classification",
    "DataError",
    "DataSource",
    "Dataset",
    "ImageSource",
    "Kept",
    "Partition",
    "PartitionError",
    "TableSource",
    "Task",
    "TaskError",
]
