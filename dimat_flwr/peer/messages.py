"""What a peer does with one message: read it, let the algorithm work, write the reply.

Nothing a peer raises is lost: it travels to the relay as the report's ``error`` with its traceback, the peer's state
stays what it was before the message, and the run goes on without the peer.
"""

import re
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.app import RecordDict

from dimat_flwr.config import Config
from dimat_flwr.events import Note, PeerEvent
from dimat_flwr.learning import idle_gpu
from dimat_flwr.peer.account import told_of
from dimat_flwr.peer.caches import configuration
from dimat_flwr.peer.errors import PeerSetupError
from dimat_flwr.peer.exchange import work_off
from dimat_flwr.peer.keys import introduce, meet
from dimat_flwr.peer.memory import (
    LostStateError,
    Memory,
    account_of,
    most_spent,
    require_checkpoints,
    require_privacy_as_before,
    telling,
    warning,
)
from dimat_flwr.peer.setup import check_node_config, check_setup
from dimat_flwr.peer.state import Trust, load_state, save_state
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction, read_instruction
from dimat_flwr.wire.report import Report
from dimat_flwr.worker.idle import worker_idle

Scalars = Mapping[str, Any]


def handle(kind: str, content: RecordDict, state: RecordDict, run_config: Scalars, node_config: Scalars,
           conf_dir: Path) -> RecordDict:  # fmt: skip
    """Do what one message asks for and return the reply's content.

    Args:
        kind: ``names.SETUP_MESSAGE`` (join a run: claim a place, check data, model, device and disk),
            ``names.MEET_MESSAGE`` (see whom the relay introduces), ``names.RESTORE_MESSAGE`` (go back to what a run
            that is gone on with needs, and answer again) or
            ``names.EXCHANGE_MESSAGE`` (do one exchange).
        content: the message's records.
        state: what the peer keeps from message to message; changed in place, and only if all went well.
        run_config: Flower's run-config.
        node_config: this device's own configuration.
        conf_dir: the folder ``conf/``.
    """
    place = -1
    try:
        place = _place(node_config)
        instruction = read_instruction(content.get(names.INSTRUCTION))
        config = configuration(instruction.settings or run_config, node_config, conf_dir)
        if kind == names.SETUP_MESSAGE:
            return _set_up(config, instruction, node_config, place, state)
        if kind == names.MEET_MESSAGE:
            meet(config, instruction)
            return _reply(Report())
        if kind == names.RESTORE_MESSAGE:
            return _restore(config, instruction, state, has_place=place >= 0)
        return _exchange(config, instruction, content, state, has_place=place >= 0)
    # Whatever it is, the relay records it: before training it stops the run, later the run goes on without this peer.
    except Exception as error:  # noqa: BLE001
        if kind in (names.SETUP_MESSAGE, names.MEET_MESSAGE):
            return _reply(Report(place=place, problem=_said(error)))
        return _reply(Report(error=traceback.format_exc()))


def _set_up(
    config: Config, instruction: Instruction, node_config: Scalars, place: int, state: RecordDict
) -> RecordDict:
    check_node_config(node_config)
    worker_idle(node_config)  # this is read before the message comes here, where a fault has no way to the relay
    own = load_state(state)
    kept: list[int] = []
    lost: list[int] = []
    if instruction.resumed and place >= 0:  # who does not know its place comes new, or cannot go on: the relay says so
        kept, lost, newest = require_checkpoints(config, instruction, place).survey()
        if newest is not None:
            require_privacy_as_before(config, newest.spent)
            if not own.trust.nonce:  # the others know this peer by these
                own.trust = Trust(secret=newest.trust.secret, nonce=newest.trust.nonce)
    introduction = introduce(config, instruction, place, own.trust)
    check_setup(config, instruction, place)
    if introduction:
        save_state(own, state)
    return _reply(Report(place=place, introduction=introduction, kept=kept, lost=lost))


def _restore(config: Config, instruction: Instruction, state: RecordDict, *, has_place: bool) -> RecordDict:
    """Forget what came after the exchanges to keep, and answer one of them once more.

    The account of private steps is not forgotten, and every answer tells of it: what is forgotten has been published,
    and may be done again by nobody, if the run ends before.
    """
    folder = require_checkpoints(config, instruction, instruction.peer)
    private: list[PeerEvent] = []
    if (account := account_of(config, instruction, has_place=has_place)) is not None:
        spent = most_spent(account, folder, state)
        if account.damaged:
            raise LostStateError(
                "what private training has told of the samples here is not known for sure, for "
                f"{account.damaged[0]}. Bring a copy of this file back; or remove it, if epsilon may leave out what "
                "checkpoints do not know of"
            )
        account.keep(spent)  # or nothing is forgotten
        private = [told_of(spent, config.privacy.delta)] if spent else []
    folder.forget_after(max(instruction.keep, default=-1))
    if instruction.number not in instruction.keep:
        return _reply(Report(events=private))
    found = folder.at(instruction.number)
    if found is None:
        raise LostStateError(f"the checkpoint of exchange {instruction.number} cannot be read any more")
    return telling(found.reply, private)


def _exchange(
    config: Config, instruction: Instruction, content: RecordDict, state: RecordDict, *, has_place: bool
) -> RecordDict:
    began = time.perf_counter()
    memory = Memory(config, instruction, state, has_place=has_place)
    if (answered := memory.answered()) is not None:
        return answered
    done = work_off(config, instruction, content, memory.before())
    done.state.number = instruction.number
    notes = [*memory.notes, *_idle(config, instruction)]
    reply = _reply(Report(seconds=round(time.perf_counter() - began, 3), events=[*notes, *done.events]))
    for name, record in done.outbox.items():
        reply[name] = record
    return memory.keep(done.state, reply)


def _idle(config: Config, instruction: Instruction) -> list[Note]:
    """Return a note where a GPU is here and not used; in a simulation, which is in one machine, one peer says it."""
    if instruction.number > 0 or (instruction.simulation and instruction.peer > 0):
        return []
    told = idle_gpu(config.training.device)
    return [warning(told)] if told else []


def _reply(report: Report) -> RecordDict:
    return RecordDict({names.REPORT: report.to_record()})


def _said(error: Exception) -> str:
    """Return what our own errors say, for they are made to be read; of all others their kind too."""
    ours = type(error).__module__.startswith("dimat_flwr.")
    return f"{error}" if ours else f"{type(error).__name__}: {error}"


def _place(node_config: Scalars) -> int:
    said = node_config.get("partition-id", -1)
    if not re.fullmatch(r"-1|[0-9]{1,9}", str(said)):
        raise PeerSetupError(f"partition-id in --node-config is {said!r}; it is the peer's place, counting from 0")
    return int(said)
