"""What a peer does with one message: read it, let the algorithm work, write the reply.

Nothing a peer raises is lost: it travels to the relay as the report's ``error`` with its traceback, the peer's state
stays what it was before the message, and the run goes on without the peer.
"""

import traceback
from pathlib import Path

from flwr.app import Context, Message, RecordDict

from dimat_flwr.algorithms.final_merge import final_merge
from dimat_flwr.algorithms.interface import Algorithm, Outbox
from dimat_flwr.config import Config
from dimat_flwr.peer.inbox import open_inbox
from dimat_flwr.peer.resources import check_resources, configuration
from dimat_flwr.peer.session import Session
from dimat_flwr.peer.state import load_state, save_state
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction, read_instruction
from dimat_flwr.wire.payload import Payload, encode
from dimat_flwr.wire.report import MAX_TEXT, Event, Report, encode_events


def handle_setup(message: Message, context: Context, conf_dir: Path) -> Message:
    """Say which place this peer claims, and check whatever can be checked before training."""
    identity = int(context.node_config.get("partition-id", -1))
    try:
        instruction = read_instruction(message.content.config_records.get(names.INSTRUCTION))
        config = configuration(context.run_config, context.node_config, conf_dir)
        check_resources(config, instruction)
        report = Report(identity=identity)
    # Whatever keeps a peer from taking part is told to the relay, which stops the run and shows it.
    except Exception as error:  # noqa: BLE001
        report = Report(identity=identity, problem=_clip(f"{error}"))
    return Message(RecordDict({names.REPORT: report.to_record()}), reply_to=message)


def handle_step(message: Message, context: Context, conf_dir: Path) -> Message:
    """Do one step of the run and publish what the next exchange needs."""
    events: list[Event] = []
    try:
        content = _step(message, context, conf_dir, events)
    except Exception:  # noqa: BLE001 - the relay records it with its traceback; the run goes on without this peer
        report = Report(error=_clip(traceback.format_exc()), events=encode_events(events))
        content = RecordDict({names.REPORT: report.to_record()})
    return Message(content, reply_to=message)


def _step(message: Message, context: Context, conf_dir: Path, events: list[Event]) -> RecordDict:
    instruction = read_instruction(message.content.config_records.get(names.INSTRUCTION))
    config = configuration(context.run_config, context.node_config, conf_dir)
    session = Session(config, instruction, load_state(context.state), events)
    outbox = _act(config, session, instruction, message.content)
    content = RecordDict()
    _publish(outbox, instruction, content)
    if instruction.last:
        session.keep_model()
    content[names.REPORT] = Report(events=encode_events(events)).to_record()
    save_state(session.close(), context.state)
    return content


def _act(config: Config, session: Session, instruction: Instruction, content: RecordDict) -> Outbox:
    algorithm: Algorithm = config.algorithm
    if instruction.round_number == 0:
        return algorithm.start(session)
    if instruction.phase == names.FINAL_MERGE:
        inbox, weights = open_inbox(content, instruction, session.model.state_dict(), session.record)
        return final_merge(config.schedule.final_merge, session, inbox, weights)
    expected = algorithm.expects(instruction.phase, session)
    inbox, weights = open_inbox(content, instruction, expected, session.record)
    return algorithm.step(instruction.phase, session, inbox, weights)


def _publish(outbox: Outbox, instruction: Instruction, content: RecordDict) -> None:
    """Put into the reply what somebody will read, and nothing else."""
    if isinstance(outbox, Payload):
        if instruction.readers:
            _put(outbox, None, content)
        return
    for reader in instruction.readers:
        if reader in outbox:
            _put(outbox[reader], reader, content)


def _put(payload: Payload, reader: int | None, content: RecordDict) -> None:
    arrays, numbers = encode(payload)
    content[names.outbox(names.TENSORS, reader)] = arrays
    if numbers:
        content[names.outbox(names.NUMBERS, reader)] = numbers


def _clip(text: str) -> str:
    """Keep the end of an over-long text, where a traceback says what happened."""
    return text[-MAX_TEXT:]
