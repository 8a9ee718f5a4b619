"""One exchange at one peer: open the inbox, let the algorithm work, publish for the next exchange, keep the model."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import torch
from flwr.app import ArrayRecord, RecordDict
from torch import Tensor

from dimat_flwr.algorithms.interface import Algorithm, Inbox, Outbox
from dimat_flwr.config import Config
from dimat_flwr.events import MAX_REASON, Merge, Note, PeerEvent, Rejected, clip
from dimat_flwr.learning import TrainingError
from dimat_flwr.merging import MergeError
from dimat_flwr.peer.errors import NoModelError
from dimat_flwr.peer.inbox import arrivals, open_inbox
from dimat_flwr.peer.keys import protection
from dimat_flwr.peer.observing import Observing
from dimat_flwr.peer.session import Session
from dimat_flwr.peer.state import PeerState
from dimat_flwr.security.protection import Protection
from dimat_flwr.topology import Row
from dimat_flwr.topology.exchange import START
from dimat_flwr.wire import names
from dimat_flwr.wire.codecs.base import Codec
from dimat_flwr.wire.codecs.float32 import Float32
from dimat_flwr.wire.instruction import Handler, Instruction
from dimat_flwr.wire.payload import Expected, Payload, to_record

# What a model that a neighbour's numbers have ruined may raise in the step that follows the merge.
_RUINED = (TrainingError, MergeError, ArithmeticError)
_LARGEST = 1e18  # of a model's numbers


@dataclass(frozen=True)
class Done:
    """What came of an exchange: the peer's new state, what it tells, and the records with what it publishes."""

    state: PeerState
    events: list[PeerEvent]
    outbox: dict[str, ArrayRecord]


def work_off(config: Config, instruction: Instruction, content: RecordDict, state: Callable[[], PeerState]) -> Done:
    """Do one exchange.

    Payloads may hold numbers that are well formed and ruinous (1e30). If the step fails on the merged model, it is
    done again without the payload of the largest numbers, and so on: a peer fails by its own fault only. Large numbers
    are a guess (a negative variance ruins as well), so those who were refused in vain are taken back.

    Args:
        config: the run's configuration.
        instruction: what is asked.
        content: the message's records.
        state: reads what the peer kept, afresh at each call.
    """
    if instruction.handler == "instruments":
        return _observe(config, instruction, content, state())
    refused: dict[int, str] = {}
    first_error: Exception | None = None
    done: Done | None = None
    while done is None:
        try:
            done = _attempt(config, instruction, content, state(), refused)
        except _RuinedError as ruined:
            first_error = first_error or ruined.error
            if not ruined.inbox:
                raise first_error from None
            largest = {source: _magnitude(payload) for source, payload in ruined.inbox.items()}
            worst = max(largest, key=largest.__getitem__)
            refused[worst] = clip(f"with it the merged model fails: {ruined.error}", MAX_REASON)
    for source in list(refused)[:-1]:
        fewer = {other: reason for other, reason in refused.items() if other != source}
        with suppress(_RuinedError):
            done, refused = _attempt(config, instruction, content, state(), fewer), fewer
    return done


class _RuinedError(Exception):
    """A step failed, perhaps by the numbers in its inbox."""

    def __init__(self, error: Exception, inbox: Inbox) -> None:
        super().__init__(str(error))
        self.error, self.inbox = error, inbox


def _attempt(
    config: Config, instruction: Instruction, content: RecordDict, state: PeerState, refused: Mapping[int, str]
) -> Done:
    session = Session(config, instruction, state, _acting(config, instruction))
    guard = protection(config, instruction, state.trust, session.record)
    inbox, row = _open(config, instruction, content, session, state, guard, refused)
    try:
        outbox = _act(config, instruction, session, state, guard, inbox, row)
    except _RUINED as error:
        raise _RuinedError(error, inbox) from error
    events = [Rejected(source=source, reason=reason) for source, reason in refused.items()]
    return Done(session.close(), [*events, *session.events], outbox)


def _open(
    config: Config,
    instruction: Instruction,
    content: RecordDict,
    session: Session,
    state: PeerState,
    guard: Protection | None,
    refused: Mapping[int, str],
) -> tuple[Inbox, Row]:
    algorithm, codec = _acting(config, instruction), _codec(config, instruction.handler)
    return open_inbox(content, instruction, algorithm, codec, session, state, guard, refused=refused)


def _act(
    config: Config,
    instruction: Instruction,
    session: Session,
    state: PeerState,
    guard: Protection | None,
    inbox: Inbox,
    row: Row,
) -> dict[str, ArrayRecord]:
    algorithm = _acting(config, instruction)
    if instruction.exchange == START:
        algorithm.start(session)
    else:
        if instruction.joins:
            _join(algorithm, session, inbox)
        _step(algorithm, instruction.exchange, session, inbox, row)
        if instruction.row.sources:
            kept = (tensor for slot in state.slots.values() for tensor in slot.values())
            _require_sound([*session.tensors().values(), *kept])
    if instruction.is_last:
        session.finish()
    elif session.evaluated and config.evaluate.save_models:
        session.keep_model()
    return _publish(config, instruction, session, state, guard)


def _join(algorithm: Algorithm, session: Session, inbox: Inbox) -> None:
    """Begin with a neighbour's model."""
    if not inbox:
        raise NoModelError(
            "this peer came during the run, and no neighbour's model has arrived that it could begin with; "
            "its place is open again in some rounds"
        )
    algorithm.join(session, inbox)
    session.record(Note("joined", {"with_model_of": next(iter(inbox))}))


def _observe(config: Config, instruction: Instruction, content: RecordDict, state: PeerState) -> Done:
    """Do one exchange for instruments; the peer's model stays what it is."""
    session = Session(config, instruction, state, _acting(config, instruction))
    guard = protection(config, instruction, state.trust, session.record)
    codec = _codec(config, instruction.handler)

    def arrived(expected: Expected) -> Iterator[tuple[int, Payload]]:
        return arrivals(content, instruction, expected, codec, session, state, guard)

    Observing(config.instruments, session, state).step(instruction.exchange, arrived)
    outbox = _publish(config, instruction, session, state, guard)
    return Done(session.close(), session.events, outbox)


def _step(algorithm: Algorithm, exchange: str, session: Session, inbox: Inbox, row: Row) -> None:
    """Let the algorithm work, and record what it mixed if it does not do so itself."""
    before, apart, began = len(session.events), session.seconds_apart, time.perf_counter()
    algorithm.step(exchange, session, inbox, row)
    seconds = time.perf_counter() - began - (session.seconds_apart - apart)
    mixed = session.aggregated or (row if row.sums != "none" else None)
    if inbox and mixed and not any(isinstance(event, Merge) for event in session.events[before:]):
        weights = [mixed.own, *(mixed.sources[j] for j in inbox)]
        session.events.insert(before, Merge(sources=list(inbox), weights=weights, seconds=round(seconds, 3)))


def _publish(
    config: Config, instruction: Instruction, session: Session, state: PeerState, guard: Protection | None
) -> dict[str, ArrayRecord]:
    """Return the records for the next exchange: what somebody will read, and nothing else."""
    coming = instruction.next
    if coming is None:
        return {}
    if coming.handler == "final_merge" != _acts(instruction):
        session.hand_over()
    if not coming.readers:
        return {}
    codec = _codec(config, coming.handler)
    outbox: Outbox
    match coming.handler:
        case "algorithm":
            outbox = config.algorithm.publish(coming.exchange, session)
        case "final_merge":
            outbox = config.final_merge.publish(coming.exchange, session)
        case "instruments":
            outbox = Observing(config.instruments, session, state).publish(coming.exchange) or {}
    contents = {None: outbox} if isinstance(outbox, Payload) else {j: outbox[j] for j in coming.readers if j in outbox}
    passages = {
        reader: session.passage(coming.round, coming.exchange, instruction.peer, reader)
        for reader in (None, *coming.readers)
    }
    for late in coming.behind:
        for passage in (passages[None], passages[late]):
            codec.missed(passage, state.codec, [late])
    records = {}
    for reader, payload in contents.items():
        readers = coming.readers if reader is None else [reader]
        blob = codec.encode(payload, passages[reader], state.codec, readers)
        if guard is not None:
            blob = guard.protect(blob, passages[reader], codec, readers)
        records[names.outbox(reader)] = to_record(blob)
    return records


def _acts(instruction: Instruction) -> Handler:
    """Return who acts in a round, and says what counts as the model when instruments look at it."""
    return "final_merge" if instruction.round > instruction.rounds else "algorithm"


def _acting(config: Config, instruction: Instruction) -> Algorithm:
    return config.final_merge if _acts(instruction) == "final_merge" else config.algorithm


def _codec(config: Config, handler: Handler) -> Codec:
    """Return the codec of an exchange; models of a final merge, and for instruments, lose nothing on their way."""
    return config.codec if handler == "algorithm" or config.codec.exact else Float32()


def _require_sound(tensors: Iterable[Tensor]) -> None:
    """Refuse what a step left ruined: it would fail in the next one, when nobody knows any more by whose fault.

    Raises:
        ArithmeticError: the tensors hold NaN, infinity or numbers whose squares are nearly infinite.
    """
    floats = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    # No number is larger than the Euclidean norm, which takes a tenth of the time; where that does not tell, they do.
    if not _all_below(_LARGEST, floats, 2) and not _all_below(_LARGEST, floats, torch.inf):
        raise ArithmeticError(f"the model holds NaN, infinite values or values beyond {_LARGEST:.0e}")


def _all_below(limit: float, tensors: list[Tensor], order: float) -> bool:
    """Whether the norms of all tensors are at most ``limit``, and numbers."""
    # Slots that nobody asked for in this exchange are still on the CPU, as counters are, whatever the model's device.
    by_device: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        by_device.setdefault(tensor.device, []).append(tensor)
    norms = ([norm.float() for norm in torch._foreach_norm(there, order)] for there in by_device.values())
    return all(bool((torch.stack(there) <= limit).all()) for there in norms)


def _magnitude(payload: Payload) -> float:
    tensors = [tensor for tensor in payload.tensors.values() if tensor.is_floating_point() and tensor.numel()]
    return max((float(tensor.abs().max()) for tensor in tensors), default=0.0)
