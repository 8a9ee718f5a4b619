"""Opening what neighbours sent: every payload is checked, a bad one is rejected, recorded and done without."""

from collections.abc import Collection, Iterator

from flwr.app import RecordDict

from dimat_flwr.algorithms.interface import Algorithm, Inbox
from dimat_flwr.events import MAX_REASON, Rejected, clip
from dimat_flwr.peer.session import Session
from dimat_flwr.peer.state import PeerState
from dimat_flwr.security.protection import Protection
from dimat_flwr.topology import Row
from dimat_flwr.wire import names
from dimat_flwr.wire.codecs.base import Codec
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.payload import Expected, Payload, PayloadError, from_record


def open_inbox(
    content: RecordDict,
    instruction: Instruction,
    algorithm: Algorithm,
    codec: Codec,
    session: Session,
    state: PeerState,
    protection: Protection | None,
    *,
    refused: Collection[int] = (),
) -> tuple[Inbox, Row]:
    """Return the payloads that may be used and the row that goes with them.

    Args:
        content: the message's records.
        instruction: whose payloads are in it, and the row.
        algorithm: says what a payload must look like.
        codec: reads them.
        session: takes a ``Rejected`` event, and a place among the absent, for each payload that may not be used.
        state: holds the codec's memory, which changes only by blobs that can be read.
        protection: opens signed and sealed blobs; None in a run that does not sign.
        refused: sources to do without; theirs are read all the same, since their codec goes on from what it sent.
    """
    if not instruction.row.sources:
        return {}, instruction.row
    expected = algorithm.expects(instruction.exchange, session)
    inbox = dict(arrivals(content, instruction, expected, codec, session, state, protection, refused=refused))
    return inbox, instruction.row.restricted_to(inbox)


def arrivals(
    content: RecordDict,
    instruction: Instruction,
    expected: Expected,
    codec: Codec,
    session: Session,
    state: PeerState,
    protection: Protection | None,
    *,
    refused: Collection[int] = (),
) -> Iterator[tuple[int, Payload]]:
    """Read the payloads one after the other: yield source and payload of those that may be used.

    Args:
        content: see ``open_inbox``, like ``instruction``, ``codec``, ``session``, ``state`` and ``refused``.
        instruction: whose payloads are in it.
        expected: what each of them must look like.
        codec: reads them.
        session: takes note of those that may not be used.
        state: holds the codec's memory.
        protection: opens what is signed or sealed.
        refused: sources to do without.
    """
    for source in instruction.row.sources:
        published_for = instruction.earlier.get(source, instruction.round)
        reader = instruction.peer if source in instruction.private else None
        passage = session.passage(published_for, instruction.exchange, source, reader)
        try:
            blob = from_record(content.get(names.inbox(source)))
            if protection is not None:
                blob = protection.open(blob, passage, codec)
            memory = dict(state.codec)
            payload = codec.decode(blob, passage, expected, memory)
        # Bytes from outside may break a codec in ways that nobody thought of: they are the sender's fault, not ours.
        except Exception as error:  # noqa: BLE001
            reason = str(error) if isinstance(error, PayloadError) else f"unreadable: {type(error).__name__}: {error}"
            session.absent[source] = "rejected"
            if source not in refused:  # else it is recorded with the reason why it was refused
                session.record(Rejected(source=source, reason=clip(reason, MAX_REASON)))
            continue
        state.codec = memory
        if source in refused:
            session.absent[source] = "rejected"
        else:
            yield source, payload
            del payload  # whoever takes them one by one has room for one
