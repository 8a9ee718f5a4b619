"""The relay's loop: send what may be sent, take what has come, until every peer is done or out."""

import traceback
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from logging import getLogger
from typing import Protocol

from flwr.app import RecordDict

from dimat_flwr.events import (
    Absent,
    Away,
    CaughtUp,
    Event,
    Failure,
    Late,
    Merge,
    Note,
    PeerEvent,
    Rejected,
    Returned,
    Stamped,
    Training,
)
from dimat_flwr.relay.clock import Clock, Pause
from dimat_flwr.relay.dispatch import Dispatch, Dispatcher
from dimat_flwr.relay.envelope import Envelope, RunFacts, compose, read_outbox
from dimat_flwr.relay.log_line import in_one_line
from dimat_flwr.relay.longer_run import fork
from dimat_flwr.relay.patience import Patience
from dimat_flwr.relay.plan import Plan, PlannedExchange
from dimat_flwr.relay.possible import require_possible
from dimat_flwr.relay.post import Post, Reply
from dimat_flwr.relay.progress import Progress
from dimat_flwr.relay.questions import TRIES
from dimat_flwr.relay.restoration import Restoration
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.relay.turnover import Turnover
from dimat_flwr.relay.whereabouts import NOBODY, Whereabouts
from dimat_flwr.wire import names
from dimat_flwr.wire.report import Report, ReportError, read_report

_REFUSED = "Flower refused a message to it, which may be too large"
_MOST_WARNINGS = 20  # of all peers, in the log; the record has all of them
_log = getLogger("flwr")


class Recorder(Protocol):
    """Where a run is written down while it happens."""

    def event(self, stamped: Stamped) -> None:
        """Take one event of one peer."""

    def edge_bytes(self, round_number: int, exchange: str, source: int, reader: int, count: int) -> None:
        """Take the bytes that went along one edge."""

    def answered(
        self, round_number: int, exchange: str, peer: int, took: float, working: float, training: float, merging: float
    ) -> None:
        """Take that a peer has done an exchange: how long after it was asked, and what of it, as it says, for what."""

    def out_of_reach(self, seconds: float) -> None:
        """Take for how long nobody could be reached so far."""

    def heartbeat(self) -> None:
        """Bring what is on disk up to date, if that is due."""

    def commit(self) -> None:
        """Bring to the disk what a peer may forget once it is sent the next message."""

    def refresh_report(self) -> None:
        """Draw the report anew, if that is due."""


@dataclass(frozen=True)
class _Pending:
    """An exchange that was sent out and not answered yet."""

    dispatch: Dispatch[Envelope]
    planned: PlannedExchange
    content: RecordDict
    since: float

    def stamp(self, event: Event, peer: int | None = None) -> Stamped:
        """Return an event with what the relay knows, whatever a peer says."""
        whose = self.dispatch.peer if peer is None else peer
        return Stamped(event, round=self.planned.round, peer=whose, exchange=self.planned.name)


class RelayLoop:
    """One run's traffic between the relay and its peers."""

    def __init__(
        self,
        post: Post,
        places: Sequence[int],
        plan: Plan,
        facts: RunFacts,
        settings: RelaySettings,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        """Prepare a run.

        Args:
            post: the way to the nodes.
            places: peer's index -> node, ``NOBODY`` for none.
            plan: the run's exchanges.
            facts: what every instruction repeats.
            settings: how long to wait for whom; in a simulation for ever, because messages queue for workers there.
            recorder: where the run is written down.
            clock: what time it is.
        """
        self._post, self._plan, self._facts = post, plan, facts
        self._whereabouts = Whereabouts(post, places, facts)
        self._recorder, self._clock, self._fork = recorder, clock, fork(plan)
        self._give_up_timeout, self._patience = settings.give_up_timeout, Patience(settings.repeat_timeout)
        self._dispatcher: Dispatcher[Envelope] = Dispatcher(
            plan,
            len(places),
            straggler_timeout=None if post.simulation else settings.straggler_timeout,
            give_up_timeout=None if post.simulation else settings.give_up_timeout,
            vacant=[place for place, node in enumerate(places) if node == NOBODY],
        )
        self._turnover = Turnover(plan, self._dispatcher, settings, recorder)
        self._progress = Progress(plan.last_round, len(places), _log.info, clock)
        self._pending: dict[str, _Pending] = {}
        self._asked: dict[int, list[str]] = {}  # peer -> the messages to it that are pending: some if asked again
        self._away: dict[int, _Pending] = {}  # peer -> what it is to be asked again
        self._losses: Counter[int] = Counter()  # peer -> how often it was away over the same exchange
        self._refusals: Counter[int] = Counter()  # peer -> how often a message to it was refused in a row
        self._rests: dict[int, float] = {}  # peer that is away -> until when it is not asked again, even if it is there
        self._out_of_reach = 0.0  # seconds, as far as they are written down
        self._warned: set[str] = set()
        self._told: set[tuple[int, int]] = set()  # (failed source, reader): once is enough

    def run(self) -> list[int]:
        """Relay until every peer has done its last exchange or failed; return those that have not failed, ascending."""
        looked = self._clock.now()  # for answers; whose has come since is not to blame that this relay was frozen
        pause = Pause(looked)
        while not self._dispatcher.finished():
            for peer in self._dispatcher.lost(looked):
                self._give_up(peer)
            started = self._dispatcher.ready(self._clock.now(), looked)
            self._turnover.postponed()
            self._send_all(started)
            if not (self._pending or self._away or started or self._dispatcher.finished()):
                raise RuntimeError("the relay is stuck: nobody is at work and nobody may start; this is a fault in it")
            if not self._post.simulation:
                self._ask_again(looked)
                self._take_in()
            looked = self._clock.now()
            replies = self._post.collect(list(self._pending))
            for reply in replies:
                self._receive(reply)
            self._report_progress()
            now = self._clock.now()
            if replies:
                pause.reset(now)
            elif self._pending or self._away:
                self._clock.sleep(pause.seconds(now, now - looked))
        return self._dispatcher.alive()

    def restore(
        self, found: Restoration[Envelope], told: Collection[tuple[int, int]], events: Sequence[Stamped]
    ) -> None:
        """Take up a run where it was left.

        Args:
            found: where that is.
            told: (failed source, reader) of which the record says already that the reader went on without it.
            events: what the record says.
        """
        skipped = self._dispatcher.restore(found, self._clock.now())
        self._turnover.restore(events)
        self._told |= set(told)
        for peer, exchanges in skipped.items():
            if found.finished[peer] + 1 + len(exchanges) != found.coming[peer]:  # else that is written down
                planned = self._plan[found.finished[peer]]
                self._recorder.event(Stamped(CaughtUp(len(exchanges)), planned.round, peer, planned.name))
        slowest = self._dispatcher.slowest()
        if slowest < len(self._plan):
            self._progress.begin_after(self._plan.round_of(slowest) - 1)

    def _send_all(self, started: Sequence[Dispatch[Envelope]]) -> None:
        """Write down what is sent, and then send it: a peer that has its next message may forget what it told."""
        entries = [self._entry(dispatch) for dispatch in started]
        for entry in entries:
            self._record_sent(entry)
        if entries:
            self._recorder.commit()
        for entry in entries:
            self._put_under_way(entry)

    def _entry(self, dispatch: Dispatch[Envelope]) -> _Pending:
        number = dispatch.exchange
        planned, coming = self._plan[number], self._plan[number + 1] if number + 1 < len(self._plan) else None
        keep = [self._fork] if 0 <= self._fork < number else []
        content = compose(dispatch, planned, coming, self._facts, ends=number >= self._plan.last_act, keep=keep)
        return _Pending(dispatch, planned, content, self._clock.now())

    def _record_sent(self, entry: _Pending) -> None:
        dispatch, planned = entry.dispatch, entry.planned
        if dispatch.joins:  # until now it was the one before it in its place whom others went without
            self._told = {edge for edge in self._told if dispatch.peer not in edge}
        for source, envelope in dispatch.payloads.items():
            self._recorder.edge_bytes(planned.round, planned.name, source, dispatch.peer, envelope.size)
            if planned.handler != "instruments":
                self._progress.relayed(planned.round, envelope.size)
        for source in dispatch.absent:
            self._record_absence(entry, source)

    def _put_under_way(self, entry: _Pending) -> bool:
        """Send a message and return whether it is on its way; if not, its peer is away or out."""
        peer = entry.dispatch.peer
        node = self._whereabouts.node(peer)
        message_id = self._post.send(node, names.EXCHANGE_MESSAGE, entry.content)
        if message_id:
            self._refusals.pop(peer, None)
            self._pending[message_id] = replace(entry, since=self._clock.now())
            self._asked.setdefault(peer, []).append(message_id)
        elif self._post.simulation:
            self._fail(entry, _REFUSED)
        elif node not in self._post.nodes():
            self._is_away(entry, "its node is not connected")
        else:  # its node may have come back just now
            self._refusals[peer] += 1
            is_out = self._refusals[peer] >= TRIES and not self._asked.get(peer)  # else it has taken the same before
            (self._fail if is_out else self._is_away)(entry, _REFUSED)
        return bool(message_id)

    def _is_away(self, entry: _Pending, reason: str) -> None:
        peer = entry.dispatch.peer
        self._away[peer] = entry
        self._losses[peer] += 1
        self._rests[peer] = self._clock.now() + self._patience.rest(self._losses[peer])
        self._recorder.event(entry.stamp(Away(reason)))
        _log.warning("round %d: peer %d is away: %s", entry.planned.round, peer, in_one_line(reason))

    def _ask_again(self, now: float) -> None:
        """Send again what those who are back were asked, and what was never answered: a peer does nothing twice."""
        busy = {entry.dispatch.peer: entry for entry in self._pending.values()}
        for peer in self._whereabouts.look(self._away.keys(), busy.keys(), now):
            if peer in self._away and now < self._rests[peer]:
                continue
            at_work = busy.pop(peer, None)
            # One whose repeat was refused is away, and may be at work all the same: its answer is good.
            entry = self._away.pop(peer, None)
            if entry is None:  # its node is gone, and what it was sent with it
                assert at_work is not None
                entry = at_work
                self._forget(peer)
            self._send_again(entry)
        for peer, entry in busy.items():
            patience = self._patience.of(peer, entry.planned.name, len(self._asked[peer]))
            if now - entry.since > patience and peer not in self._away and self._whereabouts.is_connected(peer):
                self._send_again(entry)

    def _take_in(self) -> None:
        """Let those who came during the run into places that are open."""
        waiting = self._whereabouts.newcomers(self._turnover.open_places())
        for place in self._turnover.take_in(waiting) if waiting else ():
            self._whereabouts.settle(place, waiting[place])

    def _send_again(self, entry: _Pending) -> None:
        if self._put_under_way(entry):
            self._recorder.event(entry.stamp(Returned()))

    def _forget(self, peer: int) -> None:
        """Stop waiting for a peer and its answers."""
        self._away.pop(peer, None)
        asked = self._asked.pop(peer, ())
        for message_id in asked:
            self._pending.pop(message_id, None)
        self._post.forget(asked)

    def _record_absence(self, entry: _Pending, source: int) -> None:
        reader, reason = entry.dispatch.peer, entry.dispatch.absent[source]
        if source in entry.dispatch.missed:
            return  # the reader itself was late, and its own events say so
        match reason:
            case "failed":
                if (source, reader) in self._told:
                    return
                self._told.add((source, reader))
                self._recorder.event(entry.stamp(Absent(reader, "failed"), source))
            case "late":
                self._recorder.event(entry.stamp(Late(reader), source))
            case "rejected" if entry.planned.handler == "instruments":
                return  # it had nothing to send, for example no gradient at a mean that a liar ruined, and told why
            case "rejected":
                self._recorder.event(entry.stamp(Rejected(source, "it answered without a payload for this peer")))
        _log.warning("round %d: peer %d goes on without peer %d (%s)", entry.planned.round, reader, source, reason)

    def _receive(self, reply: Reply) -> None:
        entry = self._pending.pop(reply.message_id, None)
        if entry is None:
            return  # an answer that nobody waits for any more
        peer = entry.dispatch.peer
        self._asked[peer].remove(reply.message_id)
        if reply.content is None and reply.temporary and not self._post.simulation:
            if not self._asked[peer] and peer not in self._away:
                self._is_away(entry, reply.error or "no reason given")
            return
        self._forget(peer)  # it may have been asked twice
        for counts in (self._losses, self._refusals):
            counts.pop(peer, None)
        if reply.content is None:
            self._fail(entry, reply.error or "no reason given")
            return
        try:
            report, outbox = _read(reply.content, entry.dispatch.readers, self._round_after(entry))
            require_possible(report.events, entry.dispatch.payloads.keys(), self._plan, entry.dispatch.exchange, peer)
        except ReportError as error:
            self._fail(entry, str(error))
            return
        # Everything in a reply is checked where it is read; should a check ever forget something, it is still that
        # peer's failure and not the end of everybody's run.
        except Exception:  # noqa: BLE001
            self._fail(entry, f"its reply cannot be read: {traceback.format_exc()}")
            return
        for event in report.events:
            self._recorder.event(entry.stamp(event))
            self._progress.observe(event, entry.dispatch.peer, entry.planned.round)
            self._show_warning(event, entry.dispatch.peer)
        self._record_work(entry, report)
        if report.error:
            self._fail(entry, report.error)
            return
        skipped = self._dispatcher.answered(entry.dispatch.peer, outbox)
        if skipped:
            self._recorder.event(entry.stamp(CaughtUp(len(skipped))))

    def _record_work(self, entry: _Pending, report: Report) -> None:
        training = sum(event.seconds for event in report.events if isinstance(event, Training))
        merging = sum(event.seconds for event in report.events if isinstance(event, Merge))
        took = self._clock.now() - entry.since
        self._patience.took(entry.dispatch.peer, entry.planned.name, took)
        self._recorder.answered(
            entry.planned.round, entry.planned.name, entry.dispatch.peer, took, report.seconds, training, merging
        )

    def _show_warning(self, event: PeerEvent, peer: int) -> None:
        """Log a note called "warning" where somebody watches the run, each text once and no more than a few."""
        if isinstance(event, Note) and event.name == "warning" and len(self._warned) < _MOST_WARNINGS:
            text = str(event.values.get("text"))
            if text not in self._warned:
                self._warned.add(text)
                _log.warning("peer %d warns: %s", peer, in_one_line(text))

    def _round_after(self, entry: _Pending) -> int:
        """Return the round of the exchange that a reply publishes for; after the last one nobody reads it."""
        coming = entry.dispatch.exchange + 1
        return self._plan[coming].round if coming < len(self._plan) else entry.planned.round

    def _give_up(self, peer: int) -> None:
        waiting = (*self._away.values(), *self._pending.values())
        entry = next(entry for entry in waiting if entry.dispatch.peer == peer)
        self._forget(peer)
        self._fail(entry, f"no answer within {self._give_up_timeout:g} s")

    def _fail(self, entry: _Pending, error: str) -> None:
        for counts in (self._losses, self._refusals):
            counts.pop(entry.dispatch.peer, None)  # another one may come into its place
        self._dispatcher.failed(entry.dispatch.peer)
        self._whereabouts.leave(entry.dispatch.peer)
        self._recorder.event(entry.stamp(Failure(error)))
        last = (error.strip().splitlines() or ["no reason given"])[-1]
        _log.error(
            "round %d: peer %d failed and is left out from now on: %s",
            entry.planned.round,
            entry.dispatch.peer,
            in_one_line(last),
        )
        self._turnover.left(entry.dispatch.peer)

    def _report_progress(self) -> None:
        slowest = self._dispatcher.slowest()
        unfinished = self._plan.round_of(slowest) if slowest < len(self._plan) else self._plan.last_round + 1
        if unfinished - 1 > self._progress.said and self._dispatcher.alive():
            self._progress.reached(unfinished - 1)
        self._progress.waiting(peer for peer, asked in self._asked.items() if asked)
        if self._post.out_of_reach > self._out_of_reach:  # now: a relay that is killed says nothing at its end
            self._out_of_reach = self._post.out_of_reach
            self._recorder.out_of_reach(self._out_of_reach)
        self._recorder.heartbeat()
        self._recorder.refresh_report()


def _read(content: RecordDict, readers: tuple[int, ...], round: int) -> tuple[Report, dict[int, Envelope]]:
    return read_report(content.get(names.REPORT)), read_outbox(content, readers, round)
