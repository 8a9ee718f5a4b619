"""The plan of a run: every exchange of every round, checked before anything is sent, its graphs drawn when needed."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, get_args, overload

import numpy as np

from dimat_flwr.relay.planners import Exchanges, FinalExchanges, Observations, PlanError, check_exchanges
from dimat_flwr.topology import (
    Exchange,
    Mixing,
    RoundView,
    Row,
    Schedule,
    Sums,
    Topology,
    TopologyError,
    contraction,
    spectral_gap,
)
from dimat_flwr.topology.connected import strong_parts
from dimat_flwr.topology.exchange import START, is_observation
from dimat_flwr.wire.instruction import Handler

if TYPE_CHECKING:
    import networkx as nx

# How far apart peers may be before graphs are drawn again, and what the graphs held may come to (about 32 MB).
_MOST_ROUNDS_HELD, _MOST_EDGES_HELD = 64, 2_000_000
_LOOKED_AT = 100  # rounds in which to look for who reaches whom where graphs never repeat


@dataclass(frozen=True)
class PlannedExchange:
    """One exchange of a run.

    Attributes:
        round: 0 for the start, then from 1; the final merge is round ``rounds + 1``.
        name: its name within the round.
        handler: who handles it at the peers.
        mixing: i reads what j published before, for every edge j -> i, with weight W_ij.
        sums: which sums of W are 1.
    """

    round: int
    name: str
    handler: Handler
    mixing: Mixing
    sums: Sums = "rows"


_MOST_PEERS_MEASURED = 200  # whose contraction takes a second


class Plan(Sequence[PlannedExchange]):
    """All exchanges of a run in order; exchange 0 is the start: local training, nothing arrives.

    Everything is laid out and checked when the plan is made, so that no fault of a late round comes up late. Kept of
    it is which exchanges there are; a round's graphs are asked for again when they are not among the few held.

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
    ) -> None:
        """Lay out a run.

        Args:
            algorithm: says which exchanges a round has.
            final_merge: says which follow the last round.
            topology: the graph.
            schedule: in which rounds there is one.
            peers: N.
            rounds: R.
            seed: of graphs that are drawn.
            instruments: what observes the run; None for nothing.
            shortage: row of a peer with sources -> why the run's aggregation has no answer for it, empty where it
                has; asked about exchanges whose rows sum to 1. None: it has one for every row.

        Raises:
            TopologyError: the topology does not exist for this number of peers, or its code raises.
            ScheduleError: the schedule does not fit the number of rounds, or its code raises.
            PlanError: what ``exchanges`` of algorithm, final merge or instruments returns is no plan, or it raises; or
                a peer has not the neighbours that the aggregation needs.
        """
        if algorithm.sums not in get_args(Sums):
            raise PlanError(f"{_name(algorithm)}.sums is {algorithm.sums!r}; it must be one of {get_args(Sums)}")
        self.peers, self.rounds = peers, rounds
        self._algorithm, self._final_merge, self._instruments = algorithm, final_merge, instruments
        self._topology, self._schedule, self._seed = topology, schedule, seed
        self._shortage, self._has_enough = shortage, self._identity
        self._held: OrderedDict[int, list[PlannedExchange]] = OrderedDict()
        self._layouts: list[tuple[tuple[str, Sums], ...]] = []  # by round: its exchanges' names and sums
        self._first: PlannedExchange | None = None  # of those with any edge
        for round in range(rounds + 2):
            laid_out = self._lay_out(round)
            self._layouts.append(tuple((planned.name, planned.sums) for planned in laid_out))
            self._hold(round, laid_out)
            if self._first is None:
                # Of a round's graphs the one that is mixed along: a tree to align along says little about the run.
                with_edges = _acting(laid_out)
                with_edges.sort(key=lambda planned: planned.sums == "none")
                self._first = with_edges[0] if with_edges else None
        self.shared: int | None = None
        # By exchange: its round and its place within it.
        self._places = [(round, place) for round, layout in enumerate(self._layouts) for place in range(len(layout))]

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
        first = self._first
        if first is None or first.sums == "none" or self.peers > most_peers:
            return None, None
        own = self._off_the_topology(first)
        period = self._topology.checked_period(self.peers) if own is None else None
        if period == 1 or (own is not None and all(mixing.is_like(first.mixing) for mixing in own)):
            return spectral_gap(first.mixing.dense()), None
        if period is not None:
            return self._topology.spectral_gap(self.peers, self._seed, first.sums), None
        # Mass that is pushed along columns says nothing of differences between models.
        if self.peers > _MOST_PEERS_MEASURED or not first.mixing.row_stochastic:
            return None, None
        if own is not None:
            return None, contraction(mixing.dense() for mixing in own)
        return None, self._topology.contraction(self.peers, self._seed)

    def _off_the_topology(self, first: PlannedExchange) -> list[Mixing] | None:
        """Return the exchanges that are called like the run's first, if it is not along the topology's own graph."""
        of_topology = first.round <= self.rounds and self._schedule.mode(first.round, self.rounds) == "topology"
        if of_topology and first.mixing.is_like(self._mixing_at(first.round)):
            return None
        rounds = range(first.round, min(first.round + _LOOKED_AT, self.rounds + 2))
        alike = [planned for round in rounds for planned in self._round(round) if planned.name == first.name]
        return [planned.mixing for planned in alike if planned.mixing.edge_count]

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
        """Refuse a run whose rounds mix along a W that is not symmetric, or along more than one.

        Args:
            what: needs that, for the message.

        Raises:
            PlanError: a round does not.
        """
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
        wanted = self._topology.checked_period(self.peers) or _LOOKED_AT
        used: list[Mixing] = []
        for round in range(self.rounds, 0, -1):
            here = [planned.mixing for planned in _acting(self._round(round))]
            used += [mixing for mixing in here if not any(mixing is seen for seen in used)]
            wanted -= bool(here)
            if not wanted:
                break
        used = used or [planned.mixing for planned in _acting(self._round(self.rounds + 1))]
        if not used:
            return None
        return strong_parts(self.peers, np.concatenate([mixing.edge_array() for mixing in used]), survivors)

    def _round(self, round: int) -> list[PlannedExchange]:
        if round in self._held:
            self._held.move_to_end(round)
            return self._held[round]
        laid_out = self._lay_out(round)
        if tuple((planned.name, planned.sums) for planned in laid_out) != self._layouts[round]:
            raise PlanError(
                f"the exchanges of round {round} were laid out differently when asked for again; what an algorithm's "
                "exchanges returns must follow from its settings and the view alone"
            )
        self._hold(round, laid_out)
        return laid_out

    def _hold(self, round: int, laid_out: list[PlannedExchange]) -> None:
        self._held[round] = laid_out
        while len(self._held) > _MOST_ROUNDS_HELD or (len(self._held) > 2 and self._edges_held() > _MOST_EDGES_HELD):
            self._held.popitem(last=False)

    def _edges_held(self) -> int:
        distinct = {id(planned.mixing): planned.mixing for held in self._held.values() for planned in held}
        return sum(mixing.edge_count for mixing in distinct.values())

    def _lay_out(self, round: int) -> list[PlannedExchange]:
        """Return a round's exchanges: those in which peers act, and then those in which instruments observe them."""
        acts = self._acts(round)
        if self._instruments is None or not acts:  # no final merge
            return acts
        where = f"{_name(self._instruments)}.exchanges for round {round}"
        try:
            found = list(self._instruments.exchanges(self.peers, round, self.rounds, self._end))
        except TopologyError as error:
            raise PlanError(f"{where}: {error}") from error
        return acts + [
            PlannedExchange(round, exchange.name, "instruments", exchange.mixing, exchange.sums) for exchange in found
        ]

    @cached_property
    def _end(self) -> int:
        """The last round in which peers act."""
        return self.rounds + 1 if self._acts(self.rounds + 1) else self.rounds

    def _acts(self, round: int) -> list[PlannedExchange]:
        if round == 0:
            self._mixing_at(0)  # lets a schedule that does not fit the run say so even where there are no rounds
            return [PlannedExchange(0, START, "algorithm", self._identity)]
        final = round > self.rounds
        planner: FinalExchanges = self._final_merge if final else self._algorithm
        view = RoundView(
            round=round,
            rounds=self.rounds,
            peers=self.peers,
            # A merge after the last round may do without the topology, which then need not exist for these peers.
            mixing=(lambda: self._mixing_at(round)) if final else self._mixing_at(round),
            mixing_at=self._mixing_at,
            graph=lambda: self._base_graph(round),
            seed=self._seed,
        )
        where = f"{_name(planner)}.exchanges for {'the final merge' if final else f'round {round}'}"
        try:
            found = list(planner.exchanges(view))
        except TopologyError as error:
            raise PlanError(f"{where}: {error}") from error
        # An algorithm may be anybody's code and raise anything; one error that names it is what its author needs.
        except Exception as error:
            raise PlanError(f"{where} raised {type(error).__name__}: {error}") from error
        check_exchanges(found, self.peers, where, may_be_empty=final)
        for exchange in found:
            self._check_rows(exchange, where)
        handler: Handler = "final_merge" if final else "algorithm"
        return [PlannedExchange(round, exchange.name, handler, exchange.mixing, exchange.sums) for exchange in found]

    def _check_rows(self, exchange: Exchange, where: str) -> None:
        """Refuse an exchange in which a peer has sources that the aggregation can make nothing of."""
        mixing = exchange.mixing
        if self._shortage is None or not mixing.row_stochastic or mixing is self._has_enough:
            return
        for peer in range(self.peers):
            row = mixing.row(peer)
            if row.sources and (shortage := self._shortage(row)):
                raise PlanError(
                    f"{where}: in exchange {exchange.name!r} peer {peer} has {shortage}; choose a topology with more "
                    "links, or let the aggregation expect fewer liars"
                )
        self._has_enough = mixing  # graphs that stay are looked at once

    def _mixing_at(self, round: int) -> Mixing:
        """Return graph and weights of a round, 0..rounds + 1, as topology and schedule have it."""
        if round > self.rounds:
            return self._topology.mixing(self.peers, round, self._seed, "rows")
        match self._schedule.mode(round, self.rounds):
            case "none":
                return self._identity
            case "fully_connected":
                return self._complete
            case "topology":
                return self._topology.mixing(self.peers, round, self._seed, self._algorithm.sums)

    def _base_graph(self, round: int) -> "nx.DiGraph":
        if self._topology.checked_period(self.peers) is None:
            return self._topology.graph(self.peers, round, self._seed)
        return self._union

    @cached_property
    def _identity(self) -> Mixing:
        return Mixing.identity(self.peers)

    @cached_property
    def _complete(self) -> Mixing:
        return Mixing.complete(self.peers)

    @cached_property
    def _union(self) -> "nx.DiGraph":
        return self._topology.union(self.peers, 0, self._seed)


def _name(planner: object) -> str:
    return type(planner).__name__


def _acting(planned: Sequence[PlannedExchange]) -> list[PlannedExchange]:
    """Return the exchanges of a round along which something passes that peers act on."""
    return [exchange for exchange in planned if exchange.mixing.edge_count and exchange.handler != "instruments"]
