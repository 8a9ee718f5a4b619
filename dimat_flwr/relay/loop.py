"""The relay's loop: send what may be sent, take what has come, until every peer is done or out."""

import time
from collections import Counter
from dataclasses import dataclass
from logging import getLogger
from typing import Protocol

from flwr.app import Message
from flwr.serverapp import Grid

from dimat_flwr.relay.dispatch import Dispatch, Dispatcher
from dimat_flwr.relay.envelope import Envelope, RunFacts, compose, read_outbox
from dimat_flwr.relay.membership import SetupError
from dimat_flwr.relay.pause import Pause
from dimat_flwr.relay.plan import Step
from dimat_flwr.relay.progress import Progress
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.wire import names
from dimat_flwr.wire.report import Event, ReportError, read_report

_log = getLogger("flwr")


class Recorder(Protocol):
    """Where a run is written down while it happens."""

    def event(self, event: Event) -> None:
        """Take one event of one peer."""

    def edge_bytes(self, round_number: int, phase: str, source: int, target: int, count: int) -> None:
        """Take the bytes that went along one edge."""

    def round_finished(self, round_number: int) -> None:
        """Bring what is on disk up to date after a round."""


@dataclass(frozen=True)
class _Pending:
    """A step that was sent out and not answered yet; ``step`` is None for the training of round 0."""

    dispatch: Dispatch[Envelope]
    step: Step | None

    @property
    def where(self) -> dict[str, int | str]:
        """Peer, round and phase, as every event names them."""
        round_number, phase = (self.step.round_number, self.step.phase) if self.step else (0, "start")
        return {"peer": self.dispatch.peer, "round": round_number, "phase": phase}


class RelayLoop:
    """One run's traffic between the relay and its peers."""

    def __init__(
        self,
        grid: Grid,
        places: list[int],
        steps: list[Step],
        facts: RunFacts,
        settings: RelaySettings,
        recorder: Recorder,
    ) -> None:
        """Prepare a run.

        Args:
            grid: Flower's way to the nodes.
            places: peer's index -> Flower's node id.
            steps: the plan.
            facts: what every instruction repeats.
            settings: how long to wait for whom.
            recorder: where the run is written down.
        """
        self._grid, self._places, self._steps, self._facts = grid, places, steps, facts
        self._settings, self._recorder = settings, recorder
        self._dispatcher: Dispatcher[Envelope] = Dispatcher(
            steps,
            len(places),
            straggler_timeout=settings.straggler_timeout,
            give_up_timeout=settings.give_up_timeout,
        )
        self._progress = Progress(steps[-1].round_number if steps else 0, _log.info)
        self._pending: dict[str, _Pending] = {}
        self._bytes: Counter[int] = Counter()  # by round

    def run(self) -> None:
        """Relay until every peer has done its last step or failed.

        Raises:
            SetupError: no peer is left.
        """
        pause = Pause()
        while not self._dispatcher.finished():
            now = time.monotonic()
            for peer in self._dispatcher.lost(now):
                self._give_up(peer)
            for dispatch in self._dispatcher.ready(now):
                self._send(dispatch)
            for reply in self._grid.pull_messages(list(self._pending)):
                self._receive(self._pending.pop(reply.metadata.reply_to_message_id), reply)
                pause.reset()
            self._report_progress()
            pause.sleep()
        if not self._dispatcher.alive():
            raise SetupError("every peer failed; the lines with event 'failure' in metrics.jsonl say why")

    def _send(self, dispatch: Dispatch[Envelope]) -> None:
        entry = _Pending(dispatch, self._steps[dispatch.step - 1] if dispatch.step else None)
        content = compose(dispatch, entry.step, self._facts, last=dispatch.step == self._dispatcher.last_step)
        (message_id,) = self._grid.push_messages([Message(content, self._places[dispatch.peer], names.STEP_MESSAGE)])
        self._pending[message_id] = entry
        if entry.step is None:
            return
        for source, envelope in dispatch.payloads.items():
            self._recorder.edge_bytes(entry.step.round_number, entry.step.phase, source, dispatch.peer, envelope.size)
            self._bytes[entry.step.round_number] += envelope.size
        for source, reason in dispatch.absent.items():
            kind = "late" if reason == "late" else "absent"
            self._recorder.event({"event": kind, **entry.where, "peer": source, "reader": dispatch.peer})
            _log.warning(
                "round %d: peer %d goes on without peer %d (%s)",
                entry.step.round_number,
                dispatch.peer,
                source,
                reason,
            )

    def _receive(self, entry: _Pending, reply: Message) -> None:
        if reply.has_error():
            self._fail(entry, f"{reply.error.reason}")
            return
        try:
            report, events = read_report(reply.content.config_records.get(names.REPORT))
        except ReportError as error:
            self._fail(entry, str(error))
            return
        for told in events:
            # Who and when is what the relay knows, whatever a peer says.
            event = {**told, "peer": entry.where["peer"], "round": entry.where["round"]}
            self._recorder.event(event)
            self._progress.observe(event)
        if report.error:
            self._fail(entry, report.error)
            return
        skipped = self._dispatcher.answered(entry.dispatch.peer, read_outbox(reply.content, entry.dispatch.readers))
        if skipped:
            self._recorder.event({"event": "caught_up", **entry.where, "steps_skipped": len(skipped)})

    def _give_up(self, peer: int) -> None:
        message_id = next(key for key, entry in self._pending.items() if entry.dispatch.peer == peer)
        self._fail(self._pending.pop(message_id), f"no answer within {self._settings.give_up_timeout:g} s")

    def _fail(self, entry: _Pending, error: str) -> None:
        self._dispatcher.failed(entry.dispatch.peer)
        self._recorder.event({"event": "failure", **entry.where, "error": error})
        _log.error(
            "round %d: peer %d failed and is left out from now on: %s",
            entry.where["round"],
            entry.dispatch.peer,
            (error.strip().splitlines() or ["no reason given"])[-1],
        )

    def _report_progress(self) -> None:
        alive = self._dispatcher.alive()
        if not alive:
            return
        unfinished = min(self._dispatcher.step_of(peer) for peer in alive)
        finished = self._round_of(unfinished) - 1
        if finished > self._progress.said:
            self._progress.reached(finished, self._bytes)
            self._recorder.round_finished(finished)
        self._progress.waiting([f"peer {entry.dispatch.peer}" for entry in self._pending.values()])

    def _round_of(self, step: int) -> int:
        """Return the round of a step; the one after the last if there is no such step."""
        if step > self._dispatcher.last_step:
            return self._steps[-1].round_number + 1 if self._steps else 1
        return self._steps[step - 1].round_number if step else 0
