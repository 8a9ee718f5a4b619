"""The plan of a run: every exchange of every round, checked before anything is sent, its graphs drawn when needed."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import get_args, overload

import numpy as np

from dimat_flwr.relay.epochs import Epoch, NoSourceError, observed_among, welcome
from dimat_flwr.relay.layout import LOOKED_AT, Choices, Layout, PlannedExchange, acting, placed
from dimat_flwr.relay.planners import Exchanges, FinalExchanges, Observations, PlanError
from dimat_flwr.topology import Mixing, Row, Schedule, Sums, Topology
from dimat_flwr.topology.connected import strong_parts
from dimat_flwr.topology.exchange import is_observation

# How far apart peers may be before graphs are drawn again, and what the graphs held may come to (about 32 MB).
_MOST_ROUNDS_HELD, _MOST_EDGES_HELD = 64, 2_000_000

__all__ = ["Plan", "PlannedExchange"]


class Plan(Sequence[PlannedExchange]):
    """All exchanges of a run in order; exchange 0 is the start: local training, nothing arrives.

    Everything is laid out and checked when the plan is made, so that no fault of a late round comes up late. Kept of
    it is which exchanges there are; a round's graphs are asked for again when they are not among the few held. Which
    exchanges there are stays the same when peers come and go; along which graphs follows from who is there
    (``change``), and is checked then.

    Attributes:
        shared: of the plan of a run that is gone on with for more rounds: how many exchanges, from the first, are those
            of the run before; None where all of them are.
    """

    def __init__(
        self,
        algorithm: Exchanges,
        final_merge: FinalExchanges,
        topology: Topology,
        schedule: Schedule,
        peers: int,
        rounds: int,
        seed: int,
        instruments: Observations | None = None,
        shortage: Callable[[Row], str] | None = None,
        graph_stays: str = "",
    ) -> None:
        """Lay out a run.

        Args:
            algorithm: says which exchanges a round has.
            final_merge: says which follow the last round.
            topology: the graph.
            schedule: in which rounds there is one.
            peers: N, the places that there are.
            rounds: R.
            seed: of graphs that are drawn.
            instruments: what observes the run; None for nothing.
            shortage: row of a peer with sources -> why the run's aggregation has no answer for it, empty where it
                has; asked about exchanges whose rows sum to 1. None: it has one for every row.
            graph_stays: why graphs may not be drawn over others once the run has begun; empty where they may.

        Raises:
            TopologyError: the topology does not exist for this number of peers, or its code raises.
            ScheduleError: the schedule does not fit the number of rounds, or its code raises.
            PlanError: what ``exchanges`` of algorithm, final merge or instruments returns is no plan, or it raises; or
                a peer has not the neighbours that the aggregation needs.
        """
        if algorithm.sums not in get_args(Sums):
            raise PlanError(
                f"{type(algorithm).__name__}.sums is {algorithm.sums!r}; it must be one of {get_args(Sums)}"
            )
        self.peers, self.rounds = peers, rounds
        self._choices = Choices(algorithm, final_merge, topology, schedule, rounds, seed, instruments, shortage)
        self._graph_stays = graph_stays
        self._needs_one_mixing = ""
        self.shared: int | None = None
        self.begin_with(range(peers))

    def begin_with(self, places: Sequence[int]) -> None:
        """Lay the run out over the places that are taken when it begins, ascending; the others are vacant.

        Raises:
            TopologyError, ScheduleError, PlanError: there is no such run.
        """
        for found_before in ("_numbers", "_end", "last_act"):
            self.__dict__.pop(found_before, None)
        self._epochs = [Epoch(0, tuple(places))]
        self._drawn: dict[int, Layout] = {}
        self._checked: dict[int, int] = {}  # number of peers -> from which round on its layout is known to fit
        self._held: OrderedDict[int, list[PlannedExchange]] = OrderedDict()
        self._layouts: list[tuple[tuple[str, Sums], ...]] = []  # by round: its exchanges' names and sums
        self._first: PlannedExchange | None = None  # of those with any edge
        for round in range(self.rounds + 2):
            laid_out = self._lay_out(round, self._epochs)
            self._layouts.append(_outline(laid_out))
            if round < _MOST_ROUNDS_HELD:  # the first ones are needed first
                self._hold(round, laid_out)
            if self._first is None:
                # Of a round's graphs the one that is mixed along: a tree to align along says little about the run.
                with_edges = acting(laid_out)
                with_edges.sort(key=lambda planned: planned.sums == "none")
                self._first = with_edges[0] if with_edges else None
        self._checked[len(places)] = 0
        # By exchange: its round and its place within it.
        self._places = [(round, place) for round, layout in enumerate(self._layouts) for place in range(len(layout))]
        self._require_observer(places)
        if self._needs_one_mixing:
            self.require_one_symmetric_mixing(self._needs_one_mixing)

    def change(self, round: int, left: Sequence[int], joined: Sequence[int]) -> Mapping[int, int]:
        """Draw the graphs anew, from a round on in which nobody's exchanges have been handed out yet.

        Args:
            round: the round, not before that of an earlier change.
            left: places that are not in the graphs any more.
            joined: places that come new.

        Returns:
            Newcomer, also one of an earlier change to this round -> the number of the exchange that it begins with.

        Raises:
            TopologyError, ScheduleError, PlanError: the graphs cannot be drawn over these, or a newcomer reads from
                nobody in that round; then nothing has changed.
        """
        if self._graph_stays:
            raise PlanError(self._graph_stays)
        last = self._epochs[-1]
        epoch = last.after(round, left, joined)
        if len(epoch.places) < 2:
            raise PlanError("there is no graph of a single peer")
        epochs = [*(self._epochs[:-1] if last.round == round else self._epochs), epoch]
        self._require_fit(len(epoch.places), round, epochs)
        planned, begun = self._with_newcomers(round, epochs)
        if missing := [peer for peer in epoch.arriving if peer not in begun]:
            raise NoSourceError(f"in round {round} peers {missing} have nobody to take a model from")
        self._require_outline(round, planned)
        self._epochs = epochs
        for held in [number for number in self._held if number >= round]:
            del self._held[held]
        return {peer: self._numbers[round, planned[place].name] for peer, place in begun.items()}

    @property
    def everybody(self) -> set[int]:
        """The places in which anybody was from the beginning, or came into."""
        return {place for epoch in self._epochs for place in epoch.places}

    @property
    def latest(self) -> Epoch:
        """Who is in the graphs from when on, after the last change."""
        return self._epochs[-1]

    def first_number(self, round: int) -> int | None:
        """Return the number of the first exchange of a round; None where it has none."""
        layout = self._layouts[round] if round < len(self._layouts) else ()
        return self._numbers[round, layout[0][0]] if layout else None

    def mixes(self, most_peers: int) -> tuple[float | None, float | None]:
        """Return how fast the run's graphs mix: their spectral gap, or how they contract where there is none.

        Args:
            most_peers: both are None beyond so many peers, since they take time of N^3.

        Returns:
            The spectral gap of the first exchange's W, or of one period's product where graphs change; and the measured
            factor per round by which differences shrink where they never repeat (``topology.contraction``): over many
            rounds of the topology, or over those of the run where algorithm or schedule choose other graphs. None for
            what does not apply, both for exchanges that do not mix.
        """
        first, layout = self._first, self._layout(len(self._epochs[0].places))
        if first is None or first.sums == "none" or layout.peers > most_peers:
            return None, None

        def later(rounds: range) -> Iterable[PlannedExchange]:
            for round in rounds:
                yield from layout.acts(round)

        (alike,) = (planned for planned in layout.acts(first.round) if planned.name == first.name)
        return layout.mixes(alike, later)

    @property
    def observer(self) -> int | None:
        """The peer without which instruments see nothing; None where they bring nothing together."""
        instruments = self._choices.instruments
        return None if instruments is None or self.observed_after(-1) is None else instruments.observer

    def observed_after(self, number: int) -> int | None:
        """Return the first exchange after one that is for instruments; None where there is none."""
        later = range(number + 1, len(self))
        return next((n for n in later if is_observation(self.name_of(n))), None)

    @cached_property
    def last_act(self) -> int:
        """The number of the last exchange that is not for instruments: a peer's model is final after it."""
        names = [self._layouts[round][place][0] for round, place in self._places]
        return max(number for number, name in enumerate(names) if not is_observation(name))

    @cached_property
    def _numbers(self) -> dict[tuple[int, str], int]:
        return {(round, self._layouts[round][place][0]): n for n, (round, place) in enumerate(self._places)}

    def name_of(self, number: int) -> str:
        """Return the name of an exchange, without drawing any graph."""
        round, place = self._places[number]
        return self._layouts[round][place][0]

    def number_of(self, round: int, name: str) -> int | None:
        """Return the number of an exchange by its round and name; None where there is none."""
        return self._numbers.get((round, name))

    @property
    def last_round(self) -> int:
        """The round of the last exchange: ``rounds``, or ``rounds + 1`` with a final merge."""
        return self._places[-1][0]

    def __len__(self) -> int:
        """Return the number of exchanges, the start included."""
        return len(self._places)

    @overload
    def __getitem__(self, number: int) -> PlannedExchange: ...
    @overload
    def __getitem__(self, number: slice) -> list[PlannedExchange]: ...
    def __getitem__(self, number: int | slice) -> PlannedExchange | list[PlannedExchange]:
        """Return an exchange by its number."""
        if isinstance(number, slice):
            return [self[k] for k in range(*number.indices(len(self)))]
        round, place = self._places[number]
        return self._round(round)[place]

    def round_of(self, number: int) -> int:
        """Return the round of an exchange, without drawing any graph."""
        return self._places[number][0]

    @property
    def first_communicating(self) -> Mixing | None:
        """Graph and weights of the first exchange that has any edge, of its round's the first with weights.

        None where nobody ever exchanges.
        """
        return None if self._first is None else self._first.mixing

    def require_one_symmetric_mixing(self, what: str) -> None:
        """Refuse a run whose rounds mix along a W that is not symmetric, or along more than one; also one begun later.

        Args:
            what: needs that, for the message.

        Raises:
            PlanError: a round does not.
        """
        self._needs_one_mixing = what
        first: Mixing | None = None
        for round in range(1, self.rounds + 1):
            for mixing in (p.mixing for p in self._round(round) if p.sums != "none" and p.mixing.edge_count):
                first = first or mixing
                if not (mixing.is_like(first) and mixing.is_symmetric()):
                    raise PlanError(
                        f"{what} needs a mixing matrix that is symmetric and the same in all rounds, and that of round "
                        f"{round} is not; choose a graph that stays the same and whose links go both ways, with "
                        "topology.weighting=metropolis_hastings"
                    )

    def parts(self, survivors: Sequence[int]) -> list[list[int]] | None:
        """Return the groups of survivors that can all reach each other along the last rounds' graphs.

        Looked at are the last rounds in which the algorithm has edges, as many as the topology takes to repeat; the
        final merge where no round has any.

        Returns:
            Ascending lists, a single one where the survivors hold together; None where nobody ever exchanges.
        """
        wanted = self._layout(len(self.latest.places)).repeats_after or LOOKED_AT
        # Whom newcomers read from will read from them: that they have nothing to send at first parts nobody.
        epochs = [replace(epoch, arriving=()) for epoch in self._epochs]
        used: list[Mixing] = []
        for round in range(self.rounds, 0, -1):
            here = [planned.mixing for planned in acting(self._lay_out(round, epochs))]
            used += [mixing for mixing in here if not any(mixing is seen for seen in used)]
            wanted -= bool(here)
            if not wanted:
                break
        used = used or [planned.mixing for planned in acting(self._lay_out(self.rounds + 1, epochs))]
        if not used:
            return None
        return strong_parts(self.peers, np.concatenate([mixing.edge_array() for mixing in used]), survivors)

    def _round(self, round: int) -> list[PlannedExchange]:
        if round in self._held:
            self._held.move_to_end(round)
            return self._held[round]
        laid_out = self._lay_out(round, self._epochs)
        self._require_outline(round, laid_out)
        self._hold(round, laid_out)
        return laid_out

    def _hold(self, round: int, laid_out: list[PlannedExchange]) -> None:
        self._held[round] = laid_out
        while len(self._held) > _MOST_ROUNDS_HELD or (len(self._held) > 2 and self._edges_held() > _MOST_EDGES_HELD):
            self._held.popitem(last=False)

    def _edges_held(self) -> int:
        distinct = {id(planned.mixing): planned.mixing for held in self._held.values() for planned in held}
        return sum(mixing.edge_count for mixing in distinct.values())

    def _layout(self, peers: int) -> Layout:
        if peers not in self._drawn:
            self._drawn[peers] = Layout(self._choices, peers)
        return self._drawn[peers]

    def _lay_out(self, round: int, epochs: Sequence[Epoch]) -> list[PlannedExchange]:
        """Return a round's exchanges: those in which peers act, and then those in which instruments observe them."""
        return self._with_newcomers(round, epochs)[0]

    def _with_newcomers(self, round: int, epochs: Sequence[Epoch]) -> tuple[list[PlannedExchange], Mapping[int, int]]:
        epoch = _epoch(epochs, round)
        acts = [placed(each, epoch.places, self.peers) for each in self._layout(len(epoch.places)).acts(round)]
        if acts:  # else there is no final merge
            observed = self._layout(self.peers).observed(round, self._end)
            acts += observed_among(observed, epoch.places)
        return welcome(acts, epoch.arriving) if epoch.round == round and epoch.arriving else (acts, {})

    @cached_property
    def _end(self) -> int:
        """The last round in which peers act."""
        everybody = self._layout(len(self._epochs[0].places))
        return self.rounds + 1 if everybody.acts(self.rounds + 1) else self.rounds

    def _require_observer(self, places: Sequence[int]) -> None:
        """Refuse a run that is to be observed by a peer whose place is vacant: it would go on without a word."""
        if self.observer is not None and self.observer not in places:
            raise PlanError(
                "the peer that instruments bring all models to is not there when the run begins: start its "
                "SuperNode, set instruments.observer to a place that is taken, or choose instruments=none"
            )

    def _require_fit(self, peers: int, since: int, epochs: Sequence[Epoch]) -> None:
        """Refuse a number of peers over which not all later rounds are laid out as before."""
        known = self._checked.get(peers, self.rounds + 2)
        for round in range(since, known):
            if _outline(self._lay_out(round, [replace(epochs[-1], arriving=())])) != self._layouts[round]:
                raise PlanError(f"over {peers} peers round {round} has other exchanges than so far")
        self._checked[peers] = min(since, known)

    def _require_outline(self, round: int, laid_out: Sequence[PlannedExchange]) -> None:
        if _outline(laid_out) != self._layouts[round]:
            raise PlanError(
                f"the exchanges of round {round} were laid out differently when asked for again; what an algorithm's "
                "exchanges returns must follow from its settings and the view alone"
            )


def _outline(laid_out: Sequence[PlannedExchange]) -> tuple[tuple[str, Sums], ...]:
    return tuple((planned.name, planned.sums) for planned in laid_out)


def _epoch(epochs: Sequence[Epoch], round: int) -> Epoch:
    return next(epoch for epoch in reversed(epochs) if epoch.round <= round)
