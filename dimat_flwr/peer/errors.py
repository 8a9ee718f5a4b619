"""What a peer says when it cannot take part."""


class PeerSetupError(RuntimeError):
    """Something a peer needs is not there; found before any training."""


class NoModelError(RuntimeError):
    """A newcomer has nothing to begin with."""
