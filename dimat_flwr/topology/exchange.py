"""What a plan is made of: an exchange, and what an algorithm is shown of a round to lay out its exchanges."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, get_args

from dimat_flwr.topology.errors import TopologyError
from dimat_flwr.topology.mixing import Mixing
from dimat_flwr.topology.row import Sums

if TYPE_CHECKING:
    import networkx as nx

START = "start"  # exchange 0, in which nothing arrives yet
SETUP = "setup"  # the handshake before it
OBSERVE = "observe."  # how the names of exchanges begin that bring instruments what they look at
_SUMS = get_args(Sums)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")
_REMEDY = {
    "rows": "set topology.weighting to auto, uniform, metropolis_hastings or fastest_mixing",
    "columns": "set topology.weighting to auto or column_stochastic",
}


def is_observation(name: str) -> bool:
    """Whether the exchange of this name serves instruments alone: nothing that the algorithm does follows from it."""
    return name.startswith(OBSERVE)


@dataclass(frozen=True)
class Exchange:
    """One passing of payloads along one graph.

    Attributes:
        name: what the algorithm's ``step`` is told; unique within the round, 1 to 40 letters, digits, ``_``, ``.`` or
            ``-``, the first a letter; ``start`` and ``setup`` are taken.
        mixing: reader i receives what source j published, for every edge j -> i, with weight W_ij.
        sums: which sums of W must be 1: ``"rows"`` (peers average), ``"columns"`` (push-sum), ``"none"`` (the
            algorithm does not mix by W, see ``Mixing.unweighted``).

    Raises:
        TopologyError: the name cannot be used, or W does not have these sums.
    """

    name: str
    mixing: Mixing
    sums: Sums = "rows"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name in (START, SETUP):
            raise TopologyError(
                f"an exchange cannot be named {self.name!r}; take 1 to 40 letters, digits or any of _ . - (the first a "
                f"letter) other than {START!r} and {SETUP!r}"
            )
        if not isinstance(self.mixing, Mixing):
            raise TopologyError(f"exchange {self.name!r} needs a Mixing, not a {type(self.mixing).__name__}")
        if self.sums not in _SUMS:
            raise TopologyError(f"exchange {self.name!r}: sums is 'rows', 'columns' or 'none', not {self.sums!r}")
        wrong = self.mixing.wrong_sums(self.sums)
        if wrong:
            found = ", ".join(f"peer {i}: {total:.6g}" for i, total in wrong[:5]) + (", ..." if len(wrong) > 5 else "")
            raise TopologyError(
                f"exchange {self.name!r} needs a mixing matrix whose {self.sums} sum to 1, but these do not: {found}; "
                f"{_REMEDY[self.sums]}"
            )


class RoundView:
    """What an algorithm is shown of a round, at the relay, to lay out its exchanges.

    Attributes:
        round: the round, from 1; a final merge is asked about round ``rounds + 1``.
        rounds: the rounds of the run, without the final merge.
        peers: the number of peers N.
        mixing_at: round -> ``mixing`` of any round 1..rounds.
        seed: of graphs that an algorithm draws at random itself.
        taking_part: who exchanges anything in this round, ascending; an algorithm that draws graphs itself draws them
            over these (``Mixing.placed``).
    """

    def __init__(
        self,
        round: int,
        rounds: int,
        peers: int,
        mixing: Mixing | Callable[[], Mixing],
        mixing_at: Callable[[int], Mixing],
        graph: "nx.DiGraph | Callable[[], nx.DiGraph]",
        seed: int = 0,
        taking_part: Sequence[int] | None = None,
    ) -> None:
        """Set the attributes; ``mixing`` and ``graph`` may be functions that make them when somebody looks."""
        self.round, self.rounds, self.peers, self.mixing_at, self.seed = round, rounds, peers, mixing_at, seed
        self.taking_part: Sequence[int] = range(peers) if taking_part is None else taking_part
        self._mixing, self._graph = mixing, graph

    @cached_property
    def mixing(self) -> Mixing:
        """Graph and weights of this round as topology and schedule have it.

        The identity where the schedule keeps silent; for a final merge the topology's, whatever the schedule says.
        """
        return self._mixing() if callable(self._mixing) else self._mixing

    @cached_property
    def graph(self) -> "nx.DiGraph":
        """The topology itself, whatever the schedule says: nodes 0..N-1, an edge j -> i where i may read from j.

        One that changes over rounds shows all edges of one period; one that never repeats, this round's.
        """
        return self._graph() if callable(self._graph) else self._graph
