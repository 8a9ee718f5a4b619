"""Peers that leave and come while a run goes on: when graphs are drawn anew, and who is taken in.

Who reads a peer's next payload is told when its exchange is handed out. So whatever changes takes effect in the first
round before whose first exchange nobody has been told anything. Until then the rows of a lost peer's neighbours are
scaled; and for good, where the graph cannot be drawn over those who are left.

A newcomer begins with a neighbour's model, in the first exchange in which it reads from one. A place whose newcomer is
lost stays closed for 1, 2, 4, 8, ... rounds: whoever comes and goes again and again holds up others ever less often.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from logging import getLogger
from typing import Any, Protocol

from dimat_flwr.events import Failure, Joined, Redrawn, Stamped, Unobserved
from dimat_flwr.relay.dispatch import Dispatcher
from dimat_flwr.relay.epochs import NoSourceError
from dimat_flwr.relay.plan import Plan
from dimat_flwr.relay.planners import PlanError
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.topology import ScheduleError, TopologyError

_log = getLogger("flwr")
_UNDRAWABLE = (PlanError, TopologyError, ScheduleError)


class _Recorder(Protocol):
    def event(self, stamped: Stamped) -> None:
        """Take one event of one peer."""


class Turnover:
    """Changes of a run's membership, in plan, dispatcher and record alike."""

    def __init__(self, plan: Plan, dispatcher: Dispatcher[Any], settings: RelaySettings, recorder: _Recorder) -> None:
        """Take what changes with the peers.

        Args:
            plan: whose graphs are drawn anew.
            dispatcher: knows who is in, and how far the run is.
            settings: what is to be done about leavers and newcomers.
            recorder: where it is written down.
        """
        self._plan, self._dispatcher, self._settings, self._recorder = plan, dispatcher, settings, recorder
        self._newcomers_lost: Counter[int] = Counter()
        self._came: set[int] = set()  # places in which a newcomer is, or was the last
        self._closed: dict[int, int] = {}  # place -> the round in which it is open again
        self._tried: tuple[int, Sequence[int], Sequence[int]] | None = None  # of whom it is known that they must wait

    def restore(self, events: Collection[Stamped]) -> None:
        """Take note of who came and went before the run was cut off; the plan has its changes already.

        What was to follow and is not in the record follows now: the cut may have come between a failure and that.
        """
        is_told = False
        for stamped in events:
            if isinstance(stamped.event, Joined):
                self._came.add(stamped.peer)
                is_told &= stamped.peer != self._plan.observer
            elif isinstance(stamped.event, Failure):
                self._close(stamped.peer, stamped.round)
            elif isinstance(stamped.event, Unobserved):
                is_told = True
        gone = sorted(set(self._plan.latest.places) - set(self._dispatcher.alive()))
        if self._plan.observer in gone and not is_told:
            self._end_observations()
        if gone:
            self._draw_without(gone[0])

    def left(self, peer: int) -> None:
        """Draw the graphs over those who are left, once a peer is out."""
        self._close(peer, self._round())
        if peer == self._plan.observer:
            self._end_observations()
        self._draw_without(peer)

    def _draw_without(self, peer: int) -> None:
        alive = self._dispatcher.alive()
        begins = self._next_round()
        if self._settings.leavers == "leave_out" or begins is None or len(alive) < 2:
            return
        gone = sorted(set(self._plan.latest.places) - set(alive))
        # In the next round but one nobody comes new of whom it is known already.
        error = self._try(range(begins, min(begins + 2, self._plan.last_round + 1)), gone, [])
        if error is not None:
            _log.warning("the graph stays as it is, without peer %d: %s", peer, error)

    def open_places(self) -> set[int]:
        """Return the places that a newcomer may have now."""
        if self._settings.join != "any_time":
            return set()
        now, taken = self._round(), set(self._dispatcher.alive())
        return {p for p in range(self._plan.peers) if p not in taken and self._closed.get(p, 0) <= now}

    def take_in(self, waiting: Collection[int]) -> list[int]:
        """Take newcomers into open places, as many as the graph can be drawn over; the others go on waiting.

        Returns:
            The places taken, ascending.
        """
        alive, newcomers = self._dispatcher.alive(), sorted(waiting)
        begins = self._next_round()
        attempt = (-1 if begins is None else begins, alive, newcomers)
        if begins is None or not newcomers or not alive or attempt == self._tried:
            return []
        for group in (newcomers, *([one] for one in newcomers if len(newcomers) > 1)):
            if self._admit(group, begins, alive):
                return group
        self._tried = attempt
        return []

    def postponed(self) -> None:
        """Write down which newcomers begin later than it was said: those whose sources have gone meanwhile."""
        for peer, number in self._dispatcher.postponed().items():
            self._recorder.event(Stamped(Joined(), self._plan.round_of(number), peer, self._plan.name_of(number)))

    def _end_observations(self) -> None:
        """Write down that nothing is observed any more, if anything would have been."""
        observer, number = self._plan.observer, self._plan.observed_after(self._dispatcher.slowest() - 1)
        if observer is None or number is None:
            return
        self._recorder.event(Stamped(Unobserved(), self._plan.round_of(number), observer, self._plan.name_of(number)))
        _log.warning(
            "round %d: peer %d is out, which the others' models are brought to: nothing is observed any more, unless "
            "somebody comes into its place",
            self._plan.round_of(number),
            observer,
        )

    def _admit(self, group: Sequence[int], begins: int, alive: Sequence[int]) -> bool:
        """Take a group in from the first round on in which each of it has somebody to read from."""
        places = set(self._plan.latest.places)
        gone = sorted(places - {*alive, *group})
        # Where it cannot be drawn over just these, the graph of before may do, if their places are in it.
        ways = [gone, []] if gone and places.issuperset(group) else [gone]
        reason: Exception | None = None
        for left in ways:
            # A final merge is no round to come in: there is no training after it.
            error = self._try(range(begins, self._plan.rounds + 1), left, group)
            if error is None:
                return True
            reason = reason or error
        _log.warning("newcomers in places %s wait: %s", list(group), reason)
        return False

    def _try(self, rounds: range, left: Sequence[int], joined: Sequence[int]) -> Exception | None:
        """Change the graphs from the first round on in which newcomers have a source; return why that cannot be."""
        reason: Exception = PlanError("no round is left")
        for round in rounds:
            try:
                numbers = self._plan.change(round, left, joined)
            except NoSourceError as error:
                reason = error
            except _UNDRAWABLE as error:
                return error
            else:
                self._record(round, left, joined, numbers)
                return None
        return reason

    def _record(self, round: int, left: Sequence[int], joined: Sequence[int], numbers: Mapping[int, int]) -> None:
        first = self._plan.first_number(round)
        assert first is not None
        why = min([*left, *joined])
        self._recorder.event(Stamped(Redrawn(list(left), list(joined)), round, why, self._plan.name_of(first)))
        for peer, number in numbers.items():  # also those of whom it was known: they may begin with another exchange
            self._came.add(peer)
            self._recorder.event(Stamped(Joined(), round, peer, self._plan.name_of(number)))
            self._dispatcher.join(peer, number)
            _log.info("peer %d comes in round %d, with a neighbour's model", peer, round)
        self._dispatcher.redrawn()

    def _close(self, peer: int, round: int) -> None:
        if peer in self._came:
            self._came.discard(peer)
            self._closed[peer] = round + 2 ** self._newcomers_lost[peer]
            self._newcomers_lost[peer] += 1

    def _round(self) -> int:
        return self._plan.round_of(max(0, self._dispatcher.handed_out()))

    def _next_round(self) -> int | None:
        """Return the first round before which nobody has been told who reads in it; None where none is left."""
        told = self._dispatcher.handed_out() + 1
        first = max(self._round() + 1, self._plan.latest.round, 1)
        rounds = range(first, self._plan.last_round + 1)
        return next((r for r in rounds if (n := self._plan.first_number(r)) is not None and n > told), None)
