"""One payload's bytes inside a Flower record: one ``Array`` that no code between the two peers opens."""

from flwr.app import Array, ArrayRecord

from dimat_flwr.events import MAX_REASON, clip

_NAME, _TYPE, _STYPE = "blob", "uint8", "dimat.payload"


class PayloadError(ValueError):
    """A payload that must not be used, and why, in a short clean line that may go into a report as it is."""

    def __init__(self, reason: str) -> None:
        super().__init__(clip(reason, MAX_REASON).replace("\n", " "))


def to_record(blob: bytes) -> ArrayRecord:
    """Return a blob as the record to put into a message."""
    return ArrayRecord({_NAME: Array(_TYPE, (len(blob),), _STYPE, blob)})


def from_record(record: object) -> bytes:
    """Return the blob of a record that arrived (or of whatever else did).

    Raises:
        PayloadError: there is no record, or it is not one blob.
    """
    if record is None:
        raise PayloadError("no payload arrived")
    if not isinstance(record, ArrayRecord) or list(record) != [_NAME]:
        raise PayloadError("what arrived is not one blob")
    array = record[_NAME]
    data = array.data
    if type(data) is not bytes or (array.dtype, array.shape, array.stype) != (_TYPE, (len(data),), _STYPE):
        raise PayloadError("what arrived is not a blob of the type and size that it claims")
    return data
