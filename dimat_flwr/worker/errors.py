"""The errors of this room."""


class NoWorkerError(RuntimeError):
    """A worker cannot be started; the text says why. The message can be worked off without one."""


class LineError(ConnectionError):
    """The other end of a line has gone, or sends what makes no sense."""


class SilentError(LineError):
    """The other end of a line has given no sign of life for too long."""


class WorkerError(RuntimeError):
    """The worker failed in a way of which the peer tells the relay nothing; the text is its traceback."""
