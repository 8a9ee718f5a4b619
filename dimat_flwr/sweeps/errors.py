"""The one error of this room."""


class SweepError(ValueError):
    """A sweep that cannot be run as it was asked for; the text says what is wrong and what to do."""
