"""Opening what neighbours sent: every payload is checked, a bad one is rejected, recorded and done without."""

from collections.abc import Collection, Mapping

from flwr.app import RecordDict

from dimat_flwr.algorithms.interface import Algorithm, Inbox
from dimat_flwr.events import MAX_REASON, Rejected, clip
from dimat_flwr.peer.session import Session
from dimat_flwr.peer.state import PeerState
from dimat_flwr.topology import Row
from dimat_flwr.wire import names
from dimat_flwr.wire.codecs.base import Codec, Passage
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.payload import Payload, PayloadError, from_record


def open_inbox(
    content: RecordDict,
    instruction: Instruction,
    algorithm: Algorithm,
    codec: Codec,
    session: Session,
    state: PeerState,
    *,
    refused: Collection[int] = (),
) -> tuple[Inbox, Row]:
    """Return the payloads that may be used and the row that goes with them.

    Args:
        content: the message's records.
        instruction: whose payloads are in it, and the row.
        algorithm: says what a payload looks like.
        codec: reads them.
        session: takes a ``Rejected`` event, and a place among the absent, for each payload that may not be used.
        state: holds the codec's memory.
        refused: sources to do without.
    """
    inbox: dict[int, Payload] = {}
    if not instruction.row.sources:
        return inbox, instruction.row
    like = algorithm.expects(instruction.exchange, session)
    bounds = algorithm.expected_numbers(instruction.exchange, session)
    for source in instruction.row.sources:
        if source in refused:
            session.absent[source] = "rejected"
            continue
        published_for = instruction.earlier.get(source, instruction.round)
        reader = instruction.peer if source in instruction.private else None
        passage = Passage(instruction.run, published_for, instruction.exchange, source, reader)
        try:
            blob = from_record(content.get(names.inbox(source)))
            payload = codec.decode(blob, passage, like, state.codec, bounds.keys())
            _check_numbers(payload, bounds)
            inbox[source] = payload
        # Bytes from outside may break a codec in ways that nobody thought of: they are the sender's fault, not ours.
        except Exception as error:  # noqa: BLE001
            reason = str(error) if isinstance(error, PayloadError) else f"unreadable: {type(error).__name__}: {error}"
            session.record(Rejected(source=source, reason=clip(reason, MAX_REASON)))
            session.absent[source] = "rejected"
    return inbox, instruction.row.restricted_to(inbox)


def _check_numbers(payload: Payload, bounds: Mapping[str, tuple[float, float]]) -> None:
    for name, (low, high) in bounds.items():
        if not low <= payload.numbers[name] <= high:
            raise PayloadError(f"number '{name}' is {payload.numbers[name]:.6g}, outside of {low:.6g} to {high:.6g}")
