"""The names of the records inside a message's ``RecordDict``; the one place where relay and peers agree on them."""

INSTRUCTION = "instruction"
REPORT = "report"

TENSORS = "tensors"
NUMBERS = "numbers"

SETUP_MESSAGE = "query.setup"
STEP_MESSAGE = "train.step"

FINAL_MERGE = "final_merge"  # the phase after the last round, which no algorithm may use for its own


def outbox(part: str, reader: int | None = None) -> str:
    """Return the name of a reply's record: ``part`` (TENSORS or NUMBERS) for one reader, or for all (``None``)."""
    return f"out.{'all' if reader is None else reader}.{part}"


def inbox(part: str, source: int) -> str:
    """Return the name under which the relay hands peer ``source``'s record ``part`` to a reader."""
    return f"in.{source}.{part}"
