"""The names of messages and of the records inside them; the one place where relay and peers agree on them."""

INSTRUCTION = "instruction"
REPORT = "report"

SETUP_MESSAGE = "query.setup"
MEET_MESSAGE = "query.meet"
RESTORE_MESSAGE = "query.restore"
EXCHANGE_MESSAGE = "train.exchange"


def outbox(reader: int | None) -> str:
    """Return the name of a reply's record with the payload for one reader, or for all of them (``None``)."""
    return f"out.{'all' if reader is None else reader}"


def inbox(source: int) -> str:
    """Return the name under which the relay hands peer ``source``'s payload to a reader."""
    return f"in.{source}"
