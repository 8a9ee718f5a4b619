"""The error of this room: it says what could not be recorded, where, and what to do."""


class RecordsError(RuntimeError):
    """A run's records cannot be written or read."""
