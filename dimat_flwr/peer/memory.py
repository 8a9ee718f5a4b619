"""What a peer remembers when a message comes: what Flower kept for it, or where that is lost, its own checkpoint.

The relay says which exchange is asked for and which one it has the peer's last answer to. So the peer knows whether it
has done this one already, and the answer was lost on its way: then it answers the same again; or has done more than the
relay knows, because the relay was started anew: then it goes back to what was before; or has lost its last steps,
because it was killed before they were on the disk: then it goes on from the newest it has.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from flwr.app import RecordDict

from dimat_flwr.config import Config
from dimat_flwr.events import Note, PeerEvent, clip
from dimat_flwr.learning import PrivacyError, Spent, steps_taken
from dimat_flwr.peer.account import Account
from dimat_flwr.peer.checkpoint import Checkpoint, CheckpointError, CheckpointFolder
from dimat_flwr.peer.errors import PeerSetupError
from dimat_flwr.peer.saved_model import run_folder
from dimat_flwr.peer.state import PeerState, kept_account, kept_number, load_state, save_state
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.report import Report, read_report


class LostStateError(RuntimeError):
    """The peer is asked to go on with a run of which it has nothing any more."""


def memory_folder(config: Config, instruction: Instruction) -> Path | None:
    """Return where peers on this machine keep what they remember of a run; None where they keep nothing."""
    save = config.checkpoint.save
    if save == "never" or (save == "auto" and instruction.simulation):
        return None
    return run_folder(config, instruction.run, config.checkpoint.dir) / "checkpoints"


def checkpoint_folder(config: Config, instruction: Instruction) -> CheckpointFolder | None:
    """Return where a peer keeps its checkpoints of a run; None where it keeps none."""
    folder = memory_folder(config, instruction)
    return None if folder is None else CheckpointFolder(folder, instruction.run, instruction.peer)


def require_checkpoints(config: Config, instruction: Instruction, place: int) -> CheckpointFolder:
    """Return where a peer of a run that is gone on with keeps its checkpoints.

    Raises:
        PeerSetupError: it keeps none.
    """
    folder = checkpoint_folder(config, replace(instruction, peer=place))
    if folder is None:
        raise PeerSetupError(
            f"checkpoint.save is {config.checkpoint.save}, so this peer has kept nothing to go on with; a simulation "
            "keeps checkpoints with checkpoint.save=always"
        )
    return folder


def account_folder(config: Config, instruction: Instruction) -> Path | None:
    """Return where peers on this machine keep account of private steps in a run, whether they keep checkpoints or not.

    None without privacy, and where noise follows from the seed: what is done again is then the same, and tells nothing
    new.
    """
    if not config.privacy.draws_secretly(instruction.simulation):
        return None
    return run_folder(config, instruction.run, config.checkpoint.dir) / "privacy"


def account_of(config: Config, instruction: Instruction, *, has_place: bool) -> Account | None:
    """Return the account of a peer's private steps, see ``Account``; None where there is nothing to keep."""
    folder = account_folder(config, instruction)
    return None if folder is None else Account(folder, instruction.run, instruction.peer, has_place=has_place)


def most_spent(account: Account, folder: CheckpointFolder | None, records: RecordDict) -> Spent:
    """Return the private steps that the peer knows to have taken, however far back it is asked to go."""
    newest = None if folder is None else folder.newest()
    in_checkpoints = [] if newest is None else newest.state.spent
    return max(kept_account(records), account.read(), in_checkpoints, key=steps_taken)


def require_privacy_as_before(config: Config, spent: Spent) -> None:
    """Refuse to train without noise a model that was trained with it: epsilon as it was told would hold no more.

    Raises:
        PrivacyError: a device had noise of its own, and has lost it from its settings.
    """
    if spent and config.privacy.noise_multiplier is None:
        raise PrivacyError(
            "this peer has trained with noise in this run, and would now train without: give its SuperNode the "
            "noise-multiplier in --node-config that it had"
        )


class Memory:
    """A peer's memory during one exchange.

    Attributes:
        notes: warnings about what was lost, for the record.
    """

    def __init__(self, config: Config, instruction: Instruction, records: RecordDict, *, has_place: bool) -> None:
        """Look at what there is.

        Args:
            config: says whether there are checkpoints, and where.
            instruction: which exchange is asked for.
            records: Flower's ``context.state``.
            has_place: whether the device is always in this place.
        """
        self._config, self._instruction, self._records = config, instruction, records
        self._folder = checkpoint_folder(config, instruction)
        self._account = account_of(config, instruction, has_place=has_place)
        self.notes: list[Note] = []

    def answered(self) -> RecordDict | None:
        """Return the answer to this very exchange, if it was given before and got lost."""
        found = None if self._folder is None else self._folder.at(self._instruction.number)
        if found is None:
            return None
        self._take_up(found.state)
        with suppress(OSError):  # its checkpoint counts it, too
            self._count(found.state.spent)
        self._warn_of_damage()
        return telling(found.reply, self.notes)

    def before(self) -> Callable[[], PeerState]:
        """Return what reads the peer's state as it was before this exchange, afresh at each call.

        Raises:
            LostStateError: there is none, and this is not the first exchange.
            PrivacyError: see ``require_privacy_as_before``.
        """
        require_privacy_as_before(self._config, kept_account(self._records))
        after = self._instruction.after
        # A newcomer may have been in this place before, and have published what its disk knows of.
        if kept_number(self._records) == after and not self._instruction.joins:
            if self._account and steps_taken(self._account.read()) > steps_taken(kept_account(self._records)):
                self._take_up(load_state(self._records))
            self._warn_of_damage()
            return lambda: load_state(self._records)
        found = None if self._folder is None else self._folder.find(after)
        if found is None and after >= 0:
            where = (
                "and this peer keeps no checkpoints (checkpoint.save)" if self._folder is None else "in no checkpoint"
            )
            raise LostStateError(
                f"exchange {self._instruction.number} goes on from exchange {after}, of which nothing is left here: "
                f"not in Flower's memory (which is lost when a SuperNode is started anew), {where}"
            )
        state = PeerState() if found is None else found.state
        require_privacy_as_before(self._config, state.spent)
        self._take_up(state)
        self._warn_of_damage()
        if found is not None and found.number < after:
            self._warn(
                f"goes on from exchange {found.number} instead of {after}: what came later was lost with the disk"
            )
        return lambda: load_state(self._records)

    def keep(self, state: PeerState, reply: RecordDict) -> RecordDict:
        """Keep the state after the exchange and return the reply, with a warning where the disk did not take it."""
        save_state(state, self._records)
        faults = []
        if self._folder is not None:
            try:
                self._folder.save(Checkpoint(state.number, state, reply, tuple(self._instruction.keep)))
            except CheckpointError as error:
                faults.append(warning(str(error)))
        # After the checkpoint: what a kill between them leaves uncounted there has not left this device.
        try:
            self._count(state.spent)
        except OSError as error:
            faults.append(warning(f"the account of private steps is in memory alone: {error.strerror}"))
        return telling(reply, faults)

    def _take_up(self, state: PeerState) -> None:
        """Go back to a state; nothing is taken back of what the peer has published since."""
        if self._account is not None:
            known = most_spent(self._account, self._folder, self._records)
            state.spent = max(state.spent, known, key=steps_taken)
        save_state(state, self._records)

    def _count(self, spent: Spent) -> None:
        if self._account is not None:
            self._account.keep(spent)

    def _warn_of_damage(self) -> None:
        for damaged in dict.fromkeys(self._folder.damaged if self._folder is not None else ()):
            self._warn(f"a checkpoint cannot be used: {damaged}")
        for damaged in dict.fromkeys(self._account.damaged if self._account is not None else ()):
            self._warn(f"epsilon may leave out earlier steps, an account of them cannot be used: {damaged}")

    def _warn(self, text: str) -> None:
        self.notes.append(warning(text))


def telling(reply: RecordDict, events: Sequence[PeerEvent]) -> RecordDict:
    """Return a reply that tells of some events, too."""
    if events:
        told = read_report(reply[names.REPORT])
        reply[names.REPORT] = Report(seconds=told.seconds, events=[*told.events, *events]).to_record()
    return reply


def warning(text: str) -> Note:
    """Return a note that is shown where somebody watches the run, cut to what a note may have."""
    return Note("warning", {"text": clip(text, 200)})
