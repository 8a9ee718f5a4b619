"""The errors of this room: each says what was wrong, where, and what to do."""


class TopologyError(ValueError):
    """A graph or mixing matrix that cannot be built, or would not do what decentralized learning needs."""


class ScheduleError(ValueError):
    """A schedule that is contradictory or does not fit the run's rounds."""
