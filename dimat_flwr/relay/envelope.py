"""Moving payloads from one message's records to another's, untouched, and counting their bytes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, RecordDict

from dimat_flwr.relay.dispatch import Dispatch
from dimat_flwr.relay.plan import PlannedExchange
from dimat_flwr.topology.exchange import START
from dimat_flwr.wire import names
from dimat_flwr.wire.blob import PayloadError, from_record
from dimat_flwr.wire.instruction import Instruction, Next


@dataclass(frozen=True)
class Envelope:
    """A reference to one payload's record as it arrived.

    Attributes:
        record: the record, one blob in it.
        size: bytes of the blob, without Flower's own framing.
        round: the round that it was published for.
        shared: whether it went to all readers alike.
    """

    record: ArrayRecord
    size: int
    round: int
    shared: bool


def read_outbox(content: RecordDict, readers: tuple[int, ...], round: int) -> dict[int, Envelope]:
    """Return reader -> payload from a reply: one for each reader, or one that all of them share.

    A reader for whom there is nothing, or something that is no payload at all, is left out.

    Args:
        content: the reply.
        readers: for whom the peer was asked to publish.
        round: for which round.
    """
    shared = _read(content, None, round) if readers else None
    found = {reader: _read(content, reader, round) or shared for reader in readers}
    return {reader: envelope for reader, envelope in found.items() if envelope is not None}


def _read(content: RecordDict, reader: int | None, round: int) -> Envelope | None:
    record = content.get(names.outbox(reader))
    try:
        size = len(from_record(record))
    except PayloadError:
        return None
    return Envelope(record, size, round, reader is None) if isinstance(record, ArrayRecord) else None


@dataclass(frozen=True)
class RunFacts:
    """What every instruction of a run repeats.

    Attributes:
        peers: number of peers.
        run: name of the run's folder.
        simulation: whether all peers run in one simulation.
        rounds: the last round's number, the final merge not counted.
        introductions: place -> what its peer lets the others know; told in exchange 0, empty where nobody signs.
        resumed: whether the run is gone on with.
        settings: the run-config that peers are to take then, in the place of Flower's.
    """

    peers: int
    run: str
    simulation: bool
    rounds: int = 0
    introductions: Mapping[int, str] = field(default_factory=dict)
    resumed: bool = False
    settings: Mapping[str, str | int | float | bool] = field(default_factory=dict)


def compose(
    dispatch: Dispatch[Envelope],
    planned: PlannedExchange,
    coming: PlannedExchange | None,
    facts: RunFacts,
    *,
    ends: bool = False,
    keep: Collection[int] = (),
) -> RecordDict:
    """Return the content of the message that starts one exchange at one peer.

    Args:
        dispatch: who does what with whose payloads.
        planned: the exchange.
        coming: the one after it, which the peer publishes for; None after the last.
        facts: the run's constants.
        ends: whether all exchanges after it are for instruments.
        keep: earlier exchanges of the peer that it is to keep besides those that readers may need.
    """
    instruction = Instruction(
        peer=dispatch.peer,
        peers=facts.peers,
        run=facts.run,
        simulation=facts.simulation,
        round=planned.round,
        rounds=facts.rounds,
        number=dispatch.exchange,
        after=dispatch.after,
        exchange=planned.name,
        handler=planned.handler,
        row=dispatch.row,
        absent=dict(dispatch.absent),
        private=[source for source, envelope in dispatch.payloads.items() if not envelope.shared],
        earlier={s: envelope.round for s, envelope in dispatch.payloads.items() if envelope.round != planned.round},
        introductions=dict(facts.introductions) if planned.name == START else {},
        next=None if coming is None else _next(coming, dispatch),
        ends=ends,
        keep=sorted({*dispatch.keep, *keep}),
        joins=dispatch.joins,
        settings=dict(facts.settings),
    )
    inbox = {names.inbox(source): envelope.record for source, envelope in dispatch.payloads.items()}
    return RecordDict({names.INSTRUCTION: instruction.to_record(), **inbox})


def _next(coming: PlannedExchange, dispatch: Dispatch[Envelope]) -> Next:
    return Next(
        round=coming.round,
        exchange=coming.name,
        handler=coming.handler,
        readers=list(dispatch.readers),
        behind=list(dispatch.behind),
    )
