"""The plan of a run: every exchange of every round, with its graph and weights, known before anything is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dimat_flwr.topology import Mixing, Schedule, Topology, TopologyError
from dimat_flwr.topology.mixing import Sums
from dimat_flwr.wire.names import FINAL_MERGE


class PhaseLike(Protocol):
    """One exchange within a round: its name and its mixing matrix."""

    @property
    def name(self) -> str:
        """The phase's name, unique within the round."""

    @property
    def mixing(self) -> Mixing:
        """Graph and weights of the exchange."""


class Phases(Protocol):
    """The part of an algorithm that a plan needs: which exchanges a round has."""

    @property
    def sums(self) -> Sums:
        """Which sums of W the algorithm needs to be 1: those of its rows or of its columns."""

    def phases(self, round_number: int, mixing: Mixing) -> Sequence[PhaseLike]:
        """Return the round's exchanges in order."""


@dataclass(frozen=True)
class Step:
    """One exchange and what each peer does after it.

    Attributes:
        round_number: from 1; the final merge, if any, is round ``rounds + 1``.
        phase: name of the phase within the round.
        mixing: i receives j's last payload for every edge j -> i, with weight W[i, j].
    """

    round_number: int
    phase: str
    mixing: Mixing


def make_plan(
    algorithm: Phases, topology: Topology, schedule: Schedule, *, peers: int, rounds: int, seed: int
) -> list[Step]:
    """Lay out a run's exchanges; the local training of round 0 comes before the first and is not among them.

    Raises:
        TopologyError: the topology does not exist for this number of peers, or its weights are of the wrong kind for
            the algorithm.
        ScheduleError: the schedule does not fit the number of rounds.
    """
    steps: list[Step] = []
    for round_number in range(1, rounds + 1):
        match schedule.mode(round_number, rounds):
            case "none":
                mixing = Mixing.identity(peers)
            case "fully_connected":
                mixing = Mixing.complete(peers)
            case "topology":
                mixing = topology.mixing(peers, round_number, seed)
        for phase in algorithm.phases(round_number, mixing):
            _require_sums(phase.mixing, algorithm.sums)
            steps.append(Step(round_number, phase.name, phase.mixing))
    if schedule.final_merge != "none":
        over_topology = schedule.final_merge == "gossip"
        mixing = topology.mixing(peers, rounds + 1, seed) if over_topology else Mixing.complete(peers)
        steps.append(Step(rounds + 1, FINAL_MERGE, mixing))
    return steps


def _require_sums(mixing: Mixing, sums: Sums) -> None:
    # Without edges W is the identity, which is both.
    if mixing.edges and mixing.sums != sums:
        kind = "uniform or metropolis_hastings" if sums == "rows" else "column_stochastic"
        raise TopologyError(
            f"this algorithm needs a mixing matrix whose {sums} sum to 1, the topology's weights make the "
            f"{mixing.sums} sum to 1; set topology.weights to {kind}"
        )
