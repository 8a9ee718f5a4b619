"""Who is in a run from which round on: its graphs are drawn over them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dimat_flwr.relay.layout import PlannedExchange
from dimat_flwr.relay.planners import PlanError
from dimat_flwr.topology import Mixing


@dataclass(frozen=True)
class Epoch:
    """A stretch of rounds over which the same peers are in the run.

    Attributes:
        round: its first round.
        places: over which the graphs are drawn, ascending.
        arriving: those of them who come new in its first round.
    """

    round: int
    places: tuple[int, ...]
    arriving: tuple[int, ...] = ()

    def after(self, round: int, left: Sequence[int], joined: Sequence[int]) -> "Epoch":
        """Return the epoch that follows a change, or takes this one's place where both begin with one round."""
        coming = {*joined, *(self.arriving if self.round == round else ())} - set(left)
        return Epoch(round, tuple(sorted({*self.places, *joined} - set(left))), tuple(sorted(coming)))


def welcome(planned: Sequence[PlannedExchange], arriving: Sequence[int]) -> tuple[list[PlannedExchange],
                                                                                 Mapping[int, int]]:  # fmt: skip
    """Return a round in which some come new, and with which of its exchanges each of them begins.

    A newcomer begins with the first exchange in which it reads from somebody; until then it has published nothing, so
    nobody reads from it. Where it reads from nobody in the whole round it is missing from the result.
    """
    found, begun = [], dict[int, int]()
    for place, exchange in enumerate(planned):
        silent = [peer for peer in arriving if peer not in begun]
        mixing = exchange.mixing.without_sources(silent, exchange.sums)
        if exchange.handler == "algorithm":
            begun |= {peer: place for peer in silent if mixing.sources(peer)}
        found.append(replace(exchange, mixing=mixing))
    return found, begun


class NoSourceError(PlanError):
    """A newcomer would read from nobody in the round in which it comes, and so have no model to begin with."""


def observed_among(planned: Sequence[PlannedExchange], places: Sequence[int]) -> list[PlannedExchange]:
    """Return what instruments do among some of the peers, the observer being one of them."""
    return [replace(exchange, mixing=_between(exchange.mixing, places)) for exchange in planned]


def _between(mixing: Mixing, places: Sequence[int]) -> Mixing:
    return mixing if len(places) == mixing.peers else mixing.among(places)
