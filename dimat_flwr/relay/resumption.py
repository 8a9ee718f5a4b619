"""Going on with a run that was cut off: ask peers for what they published last, and take the record up from there."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from logging import getLogger
from typing import TYPE_CHECKING, get_args

from flwr.app import RecordDict

from dimat_flwr.events import (
    Absent,
    CaughtUp,
    Failure,
    Joined,
    Late,
    PeerEvent,
    Privacy,
    Redrawn,
    Resumed,
    Stamped,
    Vacant,
)
from dimat_flwr.relay.clock import Clock
from dimat_flwr.relay.envelope import Envelope, RunFacts, read_outbox
from dimat_flwr.relay.handshake import answers
from dimat_flwr.relay.log_line import in_one_line
from dimat_flwr.relay.membership import Claim, SetupError
from dimat_flwr.relay.plan import Plan
from dimat_flwr.relay.planners import PlanError
from dimat_flwr.relay.possible import require_possible
from dimat_flwr.relay.post import Post, Reply
from dimat_flwr.relay.questions import Questions
from dimat_flwr.relay.restoration import Restoration, Standing, Told, find_out
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.relay.traffic import RelayLoop
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.report import ReportError, read_report

if TYPE_CHECKING:
    from dimat_flwr.records import ContinuedFolder

_BY_PEERS = get_args(PeerEvent)
# Of private steps a peer that goes back tells, too: also of those in exchanges that it has forgotten.
_OF_WORK_DONE = tuple(kind for kind in _BY_PEERS if kind is not Privacy)
_log = getLogger("flwr")


def what_was_told(events: Iterable[Stamped], plan: Plan) -> Told:
    """Return what a run's record says of who is out, how far the others came and who went without whom."""
    failed: set[int] = set()
    done: dict[int, int] = {}
    jumps: dict[int, dict[int, int]] = {}
    missed: set[tuple[int, int]] = set()
    without: set[tuple[int, int, int]] = set()
    began: dict[int, int] = {}
    before: dict[int, int] = {}
    failed_in = -1
    for stamped in events:
        number, peer = plan.number_of(stamped.round, stamped.exchange), stamped.peer
        match stamped.event:
            case Vacant():
                failed.add(peer)
            case Failure():
                failed.add(peer)
                failed_in = max(failed_in, -1 if number is None else number)
            case Joined() if number is not None:
                failed.discard(peer)
                began[peer] = number
                before[peer] = max(before.get(peer, -1), done.pop(peer, -1))
                missed |= {(other, peer) for other in range(plan.peers) if other != peer}
            case Late(reader=reader):
                missed.add((peer, reader))
                if number is not None:
                    without.add((peer, reader, number))
            case Resumed(after=after):
                done[peer] = after  # what it had told of later exchanges it has done again since, or has yet to do
                begun = began.get(peer, 0)  # before that it was another one
                jumps[peer] = {n: to for n, to in jumps.get(peer, {}).items() if n <= after or n < begun}
            case CaughtUp(exchanges_skipped=skipped) if number is not None:
                jumps.setdefault(peer, {})[number] = number + 1 + skipped
                missed |= {
                    edge for other in range(plan.peers) if other != peer for edge in ((peer, other), (other, peer))
                }
            case event if isinstance(event, _OF_WORK_DONE) and number is not None:
                done[peer] = max(done.get(peer, -1), number)
    return Told(frozenset(failed), done, jumps, frozenset(missed), frozenset(without), began, before, failed_in)


def absences_told(events: Iterable[Stamped]) -> set[tuple[int, int]]:
    """Return (source, reader) of which a run's record says that the reader went without the peer that is there now."""
    found: set[tuple[int, int]] = set()
    for stamped in events:
        match stamped.event:
            case Absent(reader=reader):
                found.add((stamped.peer, reader))
            case Joined():  # who comes into a place, or reads there, has met nobody's absence
                found = {edge for edge in found if stamped.peer not in edge}
    return found


def repeat_changes(plan: Plan, events: Iterable[Stamped]) -> None:
    """Bring a run's plan to where its peers' coming and going had brought it, as its record says.

    Raises:
        TopologyError, ScheduleError, PlanError: it cannot be brought there, or the record tells of peers that there are
            not; then the run cannot be gone on with.
    """
    told = list(events)
    for stamped in told:
        changed = [*stamped.event.left, *stamped.event.joined] if isinstance(stamped.event, Redrawn) else []
        if (place := max([stamped.peer, *changed])) >= plan.peers:
            raise PlanError(
                f"metrics.jsonl tells of peer {place}, and the run has peers 0 to {plan.peers - 1}: it is damaged in "
                f"its line of round {stamped.round} with '{stamped.event.kind}'; bring a copy of it back"
            )
    vacant = {stamped.peer for stamped in told if isinstance(stamped.event, Vacant)}
    if vacant:
        plan.begin_with([place for place in range(plan.peers) if place not in vacant])
    for stamped in told:
        if isinstance(stamped.event, Redrawn):
            plan.change(stamped.round, stamped.event.left, stamped.event.joined)


class Resumption:
    """A run that is gone on with, until its first message."""

    def __init__(self, post: Post, folder: "ContinuedFolder", plan: Plan, facts: RunFacts, claims: Mapping[int, Claim]):
        """Find out where the run stands; nothing is changed anywhere.

        Args:
            post: the way to the nodes.
            folder: the run's records.
            plan: its exchanges.
            facts: its constants.
            claims: place -> what its node said in the handshake.

        Raises:
            SetupError: see ``find_out``.
        """
        self._post, self._folder, self._plan, self._facts = post, folder, plan, facts
        events = list(folder.earlier_events())
        self._told = what_was_told(events, plan)
        self._events = events
        self._absences = absences_told(events)
        self._claims = claims
        standings = [Standing() for _ in range(plan.peers)]
        for place, claim in claims.items():
            standings[place] = Standing(frozenset(claim.kept), frozenset(claim.lost))
        self._standings = standings
        self._found: Restoration[Envelope] = find_out(
            plan, standings, self._told, nobody_is_late=post.simulation, all_or_none=bool(facts.introductions)
        )

    def bring_back(self, settings: RelaySettings, clock: Clock) -> None:
        """Let every peer go back to where it goes on from, fetch what others have yet to read, and take up the record.

        What a peer that is out published last is done without where its device does not give it.

        Raises:
            SetupError: another peer does not answer, or does not have any more what it had.
            RecordsError: the record cannot be read or written, or somebody else has taken it up.
        """
        self._folder.require_ended()  # for peers remove what that run has let them keep
        questions = Questions[tuple[int, int | None]](self._post)
        for peer, claim in self._claims.items():
            for number in self._numbers(peer):
                questions.ask((peer, number), claim.node, names.RESTORE_MESSAGE, self._order(peer, number))
        contents: dict[tuple[int, int], Mapping[int, Envelope]] = {}
        newest: list[Stamped] = []
        out = self._found.failed
        for (peer, number), reply in answers(questions, self._post, settings, clock, lambda key: key[0] in out):
            try:
                published, events = self._read(reply, peer, number)
            except SetupError as error:
                if peer not in out:
                    raise
                told = in_one_line(str(error))
                _log.warning("what peer %d published before it was out is done without: %s", peer, told)
                continue
            if number is not None:
                contents[peer, number] = published
            newest += events
        self._found = self._found.with_contents(contents)
        self._take_up_the_record(newest)

    def hand_over(self, loop: RelayLoop) -> None:
        """Let the relay's loop go on from here."""
        loop.restore(self._found, self._absences, self._events)

    def _numbers(self, peer: int) -> list[int | None]:
        """Return the exchanges that a peer is asked to answer again; a peer with none is told so, too."""
        return [p.number for p in self._found.publications if p.source == peer] or [None]

    def _order(self, peer: int, number: int | None) -> RecordDict:
        asked = Instruction(
            peer=peer,
            peers=self._facts.peers,
            run=self._facts.run,
            simulation=self._facts.simulation,
            rounds=self._facts.rounds,
            number=number or 0,
            keep=self._found.keeps(peer),
            resumed=True,
            settings=dict(self._facts.settings),
        )
        return RecordDict({names.INSTRUCTION: asked.to_record()})

    def _read(self, reply: Reply, peer: int, number: int | None) -> tuple[Mapping[int, Envelope], list[Stamped]]:
        """Return what a peer published in an exchange, what it told of it if that was its last, and its epsilon."""
        if reply.content is None:
            raise SetupError(f"nothing was trained. peer {peer}: {reply.error}")
        try:
            report = read_report(reply.content.get(names.REPORT))
            if report.error:
                raise SetupError(f"nothing was trained. peer {peer}: {report.error}")
            private = [event for event in report.events if isinstance(event, Privacy)]
            if number is None:
                return {}, self._told_by(peer, private)
            sources = self._plan[number].mixing.sources(peer)
            require_possible(report.events, sources, self._plan, number, peer)
        except ReportError as error:
            raise SetupError(f"nothing was trained. peer {peer}: {error}") from error
        readers: tuple[int, ...] = ()
        if number + 1 < len(self._plan):
            readers = tuple(self._plan[number + 1].mixing.readers(peer))
        round = self._plan.round_of(min(number + 1, len(self._plan) - 1))
        events = report.events if number == self._found.finished[peer] else private
        return read_outbox(reply.content, readers, round), self._told_by(peer, events)

    def _told_by(self, peer: int, events: Sequence[PeerEvent]) -> list[Stamped]:
        """Return events of the exchange that a peer goes on from, or of the one that it is to begin with."""
        if peer in self._found.failed:
            return []
        finished, last = self._found.finished[peer], len(self._plan) - 1
        planned = self._plan[finished if finished >= 0 else min(self._found.coming[peer], last)]
        return [Stamped(event, planned.round, peer, planned.name) for event in events]

    def _take_up_the_record(self, newest: list[Stamped]) -> None:
        """Leave out of the record what will be done again, and add what peers told and the relay did not write down."""
        written: Counter[str] = Counter()
        steps: Counter[int] = Counter()  # by peer, of private training, as far as the record knows of them

        def holds(stamped: Stamped) -> bool:
            if isinstance(stamped.event, Joined):
                del steps[stamped.peer]  # another device, perhaps
            if not isinstance(stamped.event, _BY_PEERS):
                return True
            number = self._plan.number_of(stamped.round, stamped.exchange)
            if number == self._found.finished[stamped.peer]:
                written[json.dumps(stamped.to_line())] += 1
            is_done = self._is_done(stamped.peer, number)
            if is_done and isinstance(stamped.event, Privacy):
                steps[stamped.peer] = max(steps[stamped.peer], stamped.event.steps)
            return is_done

        def was_read(round: int, exchange: str, reader: int) -> bool:
            return self._is_done(reader, self._plan.number_of(round, exchange))

        self._folder.go_on(holds, was_read)
        for stamped in newest:
            line = json.dumps(stamped.to_line())
            if written[line]:
                written[line] -= 1
            elif not isinstance(stamped.event, Privacy) or stamped.event.steps > steps[stamped.peer]:
                if isinstance(stamped.event, Privacy):
                    steps[stamped.peer] = stamped.event.steps
                self._folder.event(stamped)
        for peer in range(self._plan.peers):
            if peer not in self._found.failed:
                coming = self._plan[min(self._found.coming[peer], len(self._plan) - 1)]
                event = Resumed(self._found.finished[peer], self._reason(peer))
                self._folder.event(Stamped(event, coming.round, peer, coming.name))

    def _is_done(self, place: int, number: int | None) -> bool:
        """Whether an exchange is not done again by the peer in a place, because it was done or by one that is out."""
        if number is None:
            return False
        if place in self._found.failed:  # what it has done stays done, whatever its node says or if there is none
            return number < self._found.end
        return number <= self._found.finished[place] or number < self._told.began.get(place, 0)

    def _reason(self, peer: int) -> str:
        finished, lost = self._found.finished[peer], self._standings[peer].lost
        later = [number for number in self._standings[peer].kept if number > finished]
        if peer in self._found.late:
            return "it was late, and what it would have read is not kept any more"
        if any(number > finished for number in lost):
            return f"its checkpoint of exchange {max(lost)} is damaged or missing"
        if later and self._plan.shared is not None:
            return "from there on a run of more rounds goes another way"
        if later:
            return "not every peer has finished the start, where peers that sign meet"
        if peer in self._found.repeats:
            return f"it had come to exchange {self._found.repeats[peer]}, of which it has nothing any more"
        return "its newest checkpoint" if finished >= 0 else "it has finished nothing before"
