"""Who lays out a run's exchanges, and what they may return: anybody's code, checked before anything is sent."""

from collections.abc import Sequence
from typing import Protocol

from dimat_flwr.topology import Exchange, RoundView, Sums
from dimat_flwr.topology.exchange import OBSERVE, is_observation


class PlanError(ValueError):
    """An algorithm that does not lay out its exchanges as it must."""


class FinalExchanges(Protocol):
    """The part of a final merge that a plan needs."""

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        """Return the exchanges after the last round, in order; none for no merge."""


class Exchanges(FinalExchanges, Protocol):
    """The part of an algorithm that a plan needs."""

    @property
    def sums(self) -> Sums:
        """Which sums of W the algorithm needs to be 1."""


class Observations(Protocol):
    """The part of the instruments that a plan needs."""

    @property
    def observer(self) -> int:
        """The peer that their exchanges bring models to."""

    def exchanges(self, peers: int, round: int, rounds: int, end: int) -> Sequence[Exchange]:
        """Return the exchanges that follow those of a round; ``end`` is the run's last round, a final merge's too."""


def check_exchanges(found: list[Exchange], peers: int, where: str, *, may_be_empty: bool) -> None:
    """Refuse what is no exchange of these peers, or not told apart from another of its round.

    Args:
        found: what a planner returned for one round.
        peers: N of the run.
        where: who returned it and when, for the message.
        may_be_empty: whether a round without any exchange is one.

    Raises:
        PlanError: it cannot be carried out.
    """
    if not found and not may_be_empty:
        raise PlanError(
            f"{where} returned nothing; for a round without communication return one exchange over "
            "Mixing.identity(view.peers)"
        )
    for exchange in found:
        if not isinstance(exchange, Exchange):
            raise PlanError(f"{where} must return Exchanges, not a {type(exchange).__name__}")
        if exchange.mixing.peers != peers:
            over = f"exchange {exchange.name!r} is over {exchange.mixing.peers} peers"
            raise PlanError(f"{where}: {over}, the run has {peers}; take view.peers")
    names = [exchange.name for exchange in found]
    if any(map(is_observation, names)):
        raise PlanError(f"{where}: names that begin with {OBSERVE!r} are kept for instruments; take another one")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PlanError(f"{where}: more than one exchange is named {', '.join(twice)}; give each its own name")
