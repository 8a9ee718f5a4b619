"""Flower's records on a line: first all but the bytes of their arrays, in Flower's own format, then those as they are.

So an array is copied once and not three times, and may have more than the 2 GiB of a protobuf message.
"""

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as Proto
from google.protobuf.message import DecodeError

from dimat_flwr.worker.errors import LineError
from dimat_flwr.worker.line import Line

Record = ArrayRecord | ConfigRecord | MetricRecord


def send_records(line: Line, records: RecordDict) -> None:
    """Send records; raises ``LineError``."""
    line.send(
        recorddict_to_proto(RecordDict({name: _bare(record) for name, record in records.items()})).SerializeToString()
    )
    for record in records.array_records.values():
        for array in record.values():
            line.send(array.data)


def receive_records(line: Line) -> RecordDict:
    """Return records that were sent.

    Raises:
        LineError: what came are none.
    """
    data = line.receive()
    try:
        records = recorddict_from_proto(Proto.FromString(data))
    except (DecodeError, ValueError, TypeError) as error:
        raise LineError(f"what came are no records: {error}") from error
    for record in records.array_records.values():
        for name, array in list(record.items()):
            record[name] = Array(array.dtype, array.shape, array.stype, line.receive())
    return records


def _bare(record: Record) -> Record:
    """Return a record whose arrays have no bytes; any other as it is."""
    if not isinstance(record, ArrayRecord):
        return record
    return ArrayRecord({name: Array(array.dtype, array.shape, array.stype, b"") for name, array in record.items()})
