"""What others say, in the relay's log: a peer, its node, or whoever claims to be one."""

from dimat_flwr.events import clip

_MOST = 300  # characters; the record has all of it


def in_one_line(text: str) -> str:
    """Return others' words for a line of the log: cleaned, not too many, and none that looks like a line of its own."""
    return clip(text, _MOST).replace("\n", " ")
