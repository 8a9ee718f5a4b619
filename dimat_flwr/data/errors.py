"""The errors of this room: each says what was wrong, where, and what to do."""


class DataError(RuntimeError):
    """A data set's files are missing or damaged, or hold less than was asked for."""


class PartitionError(ValueError):
    """A split that does not give every peer enough samples."""


class TaskError(ValueError):
    """A network's scores are not what the data set's task needs."""
