"""What the exchanges of one round are, over so many peers: asked of algorithm, final merge and instruments."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

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
from dimat_flwr.topology.exchange import START
from dimat_flwr.wire.instruction import Handler

if TYPE_CHECKING:
    import networkx as nx

LOOKED_AT = 100  # rounds in which to look for who reaches whom where graphs never repeat
_MOST_PEERS_MEASURED = 200  # whose contraction takes a second


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


@dataclass(frozen=True)
class Choices:
    """What lays a run out; see ``Plan``."""

    algorithm: Exchanges
    final_merge: FinalExchanges
    topology: Topology
    schedule: Schedule
    rounds: int
    seed: int
    instruments: Observations | None
    shortage: Callable[[Row], str] | None


class Layout:
    """A run's rounds over N peers 0..N-1, who are all there from the first to the last one."""

    def __init__(self, choices: Choices, peers: int) -> None:
        """Take what lays the run out; nothing is asked of it yet."""
        self._choices, self.peers = choices, peers
        self._has_enough = self._identity  # of mixings the last in which everybody has the sources it needs

    def acts(self, round: int) -> list[PlannedExchange]:
        """Return the exchanges of a round in which peers act.

        Raises:
            TopologyError, ScheduleError, PlanError: see ``Plan``.
        """
        rounds = self._choices.rounds
        if round == 0:
            self._mixing_at(0)  # lets a schedule that does not fit the run say so even where there are no rounds
            return [PlannedExchange(0, START, "algorithm", self._identity)]
        final = round > rounds
        planner: FinalExchanges = self._choices.final_merge if final else self._choices.algorithm
        view = RoundView(
            round=round,
            rounds=rounds,
            peers=self.peers,
            # A merge after the last round may do without the topology, which then need not exist for these peers.
            mixing=(lambda: self._mixing_at(round)) if final else self._mixing_at(round),
            mixing_at=self._mixing_at,
            graph=lambda: self._base_graph(round),
            seed=self._choices.seed,
            taking_part=None if final else self._taking_part(round),
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

    def observed(self, round: int, end: int) -> list[PlannedExchange]:
        """Return the exchanges in which instruments observe a round; ``end`` is the last one in which peers act."""
        instruments = self._choices.instruments
        if instruments is None:
            return []
        try:
            found = list(instruments.exchanges(self.peers, round, self._choices.rounds, end))
        except TopologyError as error:
            raise PlanError(f"{_name(instruments)}.exchanges for round {round}: {error}") from error
        return [PlannedExchange(round, e.name, "instruments", e.mixing, e.sums) for e in found]

    @property
    def repeats_after(self) -> int | None:
        """After how many rounds the graphs of the topology repeat among those who take part; None where never."""
        return None if self._choices.schedule.is_partial else self._choices.topology.checked_period(self.peers)

    def mixes(
        self, first: PlannedExchange, later: Callable[[range], Iterable[PlannedExchange]]
    ) -> tuple[float | None, float | None]:
        """Return how fast the graphs mix, from an exchange on; see ``Plan.mixes``.

        Args:
            first: the first exchange of these peers that mixes along W, and has any edge.
            later: rounds -> their exchanges.
        """
        topology, seed = self._choices.topology, self._choices.seed
        own = self._off_the_topology(first, later)
        period = self.repeats_after if own is None else None
        if period == 1 or (own is not None and all(mixing.is_like(first.mixing) for mixing in own)):
            return spectral_gap(first.mixing.dense()), None
        if period is not None:
            return topology.spectral_gap(self.peers, seed, first.sums), None
        # Mass that is pushed along columns says nothing of differences between models.
        if self.peers > _MOST_PEERS_MEASURED or not first.mixing.row_stochastic:
            return None, None
        if own is not None:
            return None, contraction(mixing.dense() for mixing in own)
        return None, topology.contraction(self.peers, seed)

    def _off_the_topology(
        self, first: PlannedExchange, later: Callable[[range], Iterable[PlannedExchange]]
    ) -> list[Mixing] | None:
        """Return the exchanges that are called like the run's first, if it is not along the topology's own graph."""
        schedule, rounds = self._choices.schedule, self._choices.rounds
        of_topology = first.round <= rounds and schedule.mode(first.round, rounds) == "topology"
        if of_topology and not schedule.is_partial and first.mixing.is_like(self._mixing_at(first.round)):
            return None
        among = range(first.round, min(first.round + LOOKED_AT, rounds + 2))
        return [p.mixing for p in later(among) if p.name == first.name and p.mixing.edge_count]

    def _check_rows(self, exchange: Exchange, where: str) -> None:
        """Refuse an exchange in which a peer has sources that the aggregation can make nothing of."""
        mixing, shortage_of = exchange.mixing, self._choices.shortage
        if shortage_of is None or not mixing.row_stochastic or mixing is self._has_enough:
            return
        for peer in range(self.peers):
            row = mixing.row(peer)
            if row.sources and (shortage := shortage_of(row)):
                raise PlanError(
                    f"{where}: in exchange {exchange.name!r} peer {peer} has {shortage}; choose a topology with more "
                    "links, or let the aggregation expect fewer liars"
                )
        self._has_enough = mixing  # graphs that stay are looked at once

    def _mixing_at(self, round: int) -> Mixing:
        """Return graph and weights of a round, 0..rounds + 1, as topology and schedule have it."""
        choices = self._choices
        if round > choices.rounds:
            return choices.topology.mixing(self.peers, round, choices.seed, "rows")
        mode = choices.schedule.mode(round, choices.rounds)
        if mode == "none":
            return self._identity
        among = self._taking_part(round)
        if len(among) < 2:
            return self._identity
        if mode == "fully_connected":
            mixing = self._complete if len(among) == self.peers else Mixing.complete(len(among))
        else:
            mixing = choices.topology.mixing(len(among), round, choices.seed, choices.algorithm.sums)
        return mixing.placed(among, self.peers)

    def _taking_part(self, round: int) -> Sequence[int]:
        return self._choices.schedule.participants(round, self.peers, self._choices.seed)

    def _base_graph(self, round: int) -> "nx.DiGraph":
        if self._choices.topology.checked_period(self.peers) is None:
            return self._choices.topology.graph(self.peers, round, self._choices.seed)
        return self._union

    @cached_property
    def _identity(self) -> Mixing:
        return Mixing.identity(self.peers)

    @cached_property
    def _complete(self) -> Mixing:
        return Mixing.complete(self.peers)

    @cached_property
    def _union(self) -> "nx.DiGraph":
        return self._choices.topology.union(self.peers, 0, self._choices.seed)


def acting(planned: Sequence[PlannedExchange]) -> list[PlannedExchange]:
    """Return the exchanges of a round along which something passes that peers act on."""
    return [exchange for exchange in planned if exchange.mixing.edge_count and exchange.handler != "instruments"]


def placed(planned: PlannedExchange, places: tuple[int, ...], peers: int) -> PlannedExchange:
    """Return an exchange over some of more peers; see ``Mixing.placed``."""
    return planned if len(places) == peers else replace(planned, mixing=_placed(planned.mixing, places, peers))


@lru_cache(maxsize=4)  # most graphs stay the same from round to round
def _placed(mixing: Mixing, places: tuple[int, ...], peers: int) -> Mixing:
    return mixing.placed(places, peers)


def _name(planner: object) -> str:
    return type(planner).__name__
