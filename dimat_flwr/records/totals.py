"""A run's running totals: each event is taken once, when it happens, and never looked at again.

A figure of a round is a mean over peers, each of which counts once with the last that it said. So a round keeps one
number per peer and figure (8 bytes), and what was worked out of them is kept until one of them changes.
"""

import math
from array import array
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimat_flwr.events import (
    STAGES,
    Aligned,
    Consensus,
    Counterfactual,
    Evaluation,
    Failure,
    Final,
    GradientNorm,
    Joined,
    Late,
    Merge,
    Privacy,
    Rejected,
    Stamped,
    Training,
    UnitsMoved,
    Vacant,
    to_json,
)
from dimat_flwr.topology.exchange import is_observation

_MAX_GROUPS = 500  # of a network, whose shares of moved units are kept
_MAX_PROBLEMS = 300  # shown in the summary and the report; all of them are in metrics.jsonl
_SHOWN_TEXT = 1_500  # of an error, in the summary: its end
FIGURES = ("accuracy", "local_accuracy", "loss")
COLUMNS = [f"{figure}_{stage}" for figure in FIGURES for stage in STAGES] + ["loss"]


class PeerFigures:
    """One figure of all peers: peer -> number, with mean and standard deviation."""

    def __init__(self) -> None:
        self._values = array("d")
        self._worked_out: tuple[float, float, int] | None = None

    def put(self, peer: int, value: float) -> None:
        """Take a peer's number, in place of an earlier one."""
        missing = peer + 1 - len(self._values)
        if missing > 0:
            self._values.extend([math.nan] * missing)
        self._values[peer] = value
        self._worked_out = None

    def values(self, peers: int) -> NDArray[np.float64]:
        """Return the numbers of the first ``peers`` peers: (peers,), NaN where one told none."""
        told = np.array(self._values[:peers])
        return np.concatenate([told, np.full(peers - len(told), np.nan)])

    @property
    def peers(self) -> int:
        """One more than the last peer that told a number."""
        return len(self._values)

    def spread(self) -> tuple[float, float, int]:
        """Return mean, standard deviation and number of the numbers there are."""
        if self._worked_out is None:
            values = np.array(self._values)
            values = values[~np.isnan(values)]
            self._worked_out = float(values.mean()), float(values.std()), len(values)
        return self._worked_out


class GroupMeans:
    """One share of each permutation group: group -> the mean over all that peers said of it."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def put(self, groups: Mapping[str, float]) -> None:
        """Take what one peer said; of a network with very many groups, the first ones."""
        for group, share in groups.items():
            if group in self._sums or len(self._sums) < _MAX_GROUPS:
                total, count = self._sums.get(group, (0.0, 0))
                self._sums[group] = (total + share, count + 1)

    def means(self) -> dict[str, float]:
        """Return the means, in the order in which the groups were first named."""
        return {group: round(total / count, 4) for group, (total, count) in self._sums.items()}


class RoundTotals:
    """What happened in one round."""

    def __init__(self) -> None:
        self.figures: dict[str, PeerFigures] = {}
        self.observed: dict[str, PeerFigures] = {}  # by instruments, figures of their own
        self.units_moved = GroupMeans()
        self.moved, self.alignments = 0.0, 0  # sum and number of the shares of units that aligning a neighbour moved
        self.told = 0  # bit i: peer i evaluated, trained or merged
        self.failures = self.late = self.rejected = self.bytes = self.instrument_bytes = 0

    def put(self, column: str, peer: int, value: float | None) -> None:
        """Take one peer's figure; None is not reported."""
        _put(self.figures, column, peer, value)

    def observe(self, column: str, peer: int, value: float | None) -> None:
        """Take what an instrument observed at one peer; None where it could not."""
        _put(self.observed, column, peer, value)

    def row(self, number: int, lost: int) -> dict[str, Any]:
        """Return the round as the summary has it; see ``Totals.rounds``."""
        row: dict[str, Any] = {"round": number}
        for column in COLUMNS:
            found = self.figures.get(column)
            mean, spread = found.spread()[:2] if found else (None, None)
            row |= {column: mean, f"{column}_spread": spread}
        return row | {
            "peers": self.told.bit_count(),
            "lost": lost,
            "failures": self.failures,
            "late": self.late,
            "rejected": self.rejected,
            "bytes": self.bytes,
            "instrument_bytes": self.instrument_bytes,
            "units_moved": round(self.moved / self.alignments, 4) if self.alignments else None,
            "observed": self._observed(),
        }

    def _observed(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for column, figures in self.observed.items():
            mean, spread, peers = figures.spread()
            found[column] = mean
            if column.startswith("counterfactual"):  # the others are one figure of all peers together
                found |= {f"{column}_spread": spread, f"{column}_peers": peers}
        moved = self.units_moved.means()
        return found | ({"units_moved": moved} if moved else {})


class Totals:
    """All that a summary says of a run's events.

    Attributes:
        lost_peers: peer -> the round in which it failed; of those in whose place nobody has come since.
        vacant: places in which nobody has been yet.
        joined: place -> the round in which the last newcomer came into it.
        bytes_total: sent over all edges.
        instrument_bytes_total: sent besides, for instruments alone.
        trained: whether any peer has trained.
    """

    def __init__(self) -> None:
        self.lost_peers: dict[int, int] = {}
        self.vacant: set[int] = set()
        self.joined: dict[int, int] = {}
        self._gaps: dict[tuple[int, int], int] = {}  # (place, round in which it was lost) -> round of who came
        self._gap: dict[int, int] = {}  # place -> the round in which the one before its newcomer was lost
        self.bytes_total = self.instrument_bytes_total = 0
        self.trained = False
        self._rounds: defaultdict[int, RoundTotals] = defaultdict(RoundTotals)
        self._finals: dict[int, Final] = {}
        self._privacy: dict[int, Privacy] = {}
        self._privacy_before: dict[int, Privacy] = {}  # place -> the largest of those in whose place another came
        self._failures: list[dict[str, Any]] = []
        self._others: list[dict[str, Any]] = []
        self._problems = 0

    def add(self, stamped: Stamped) -> None:
        """Take one event."""
        event, peer, entry = stamped.event, stamped.peer, self._rounds[stamped.round]
        match event:
            case Evaluation():
                entry.told |= 1 << peer
                for figure in FIGURES:
                    entry.put(f"{figure}_{event.stage}", peer, getattr(event, figure))
            case Training():
                self.trained = True
                entry.told |= 1 << peer
                entry.put("loss", peer, event.loss)
            case Merge():
                entry.told |= 1 << peer
            case Aligned():
                entry.moved += event.units_moved
                entry.alignments += 1
            case Privacy():
                self._privacy[peer] = event
            case Counterfactual():
                for figure in FIGURES:
                    entry.observe(f"counterfactual_{figure}", peer, getattr(event, figure))
            case Consensus():
                entry.observe(f"consensus_distance_{event.stage}", peer, event.distance)
            case GradientNorm():
                entry.observe("gradient_norm", peer, event.norm)
            case UnitsMoved():
                entry.units_moved.put(event.groups)
            case Final():
                self._finals[peer] = event
            case Failure():
                entry.failures += 1
                self.lost_peers.setdefault(peer, stamped.round)
                self._problem(stamped, self._failures)
            case Vacant():
                self.vacant.add(peer)
            case Joined():
                self._took_a_place(peer, stamped.round)
            case Late():
                entry.late += 1
                self._problem(stamped, self._others)
            case Rejected():
                entry.rejected += 1
                self._problem(stamped, self._others)

    def _took_a_place(self, peer: int, round: int) -> None:
        if peer in self.lost_peers:
            self._gap[peer] = self.lost_peers.pop(peer)
            if peer in self._privacy:  # a newcomer is another device, perhaps, and tells of its own samples
                both = [self._privacy.pop(peer), *filter(None, [self._privacy_before.get(peer)])]
                self._privacy_before[peer] = max(both, key=_epsilon)
        if peer in self._gap:  # also one of whom it is said that it begins later, after all
            self._gaps[peer, self._gap[peer]] = round
        self.vacant.discard(peer)
        self.joined[peer] = round

    def add_bytes(self, round_number: int, count: int, exchange: str = "") -> None:
        """Take bytes that went along an edge in an exchange; those that serve instruments are counted apart."""
        if is_observation(exchange):
            self._rounds[round_number].instrument_bytes += count
            self.instrument_bytes_total += count
        else:
            self._rounds[round_number].bytes += count
            self.bytes_total += count

    def rounds(self) -> list[dict[str, Any]]:
        """Return one dict per round that left a trace, in order.

        Its keys: ``round``; ``accuracy_<stage>``, ``local_accuracy_<stage>`` (percent), ``loss_<stage>`` (test set) and
        ``loss`` (of training): means over the peers that reported them, None where none did, each with ``..._spread``,
        the standard deviation; ``peers``: how many evaluated, trained or merged; ``lost``: how many had failed by then
        and had nobody come into their place;
        ``failures``, ``late``, ``rejected``: how many in this round; ``bytes``: sent over all edges;
        ``instrument_bytes``: sent besides, for instruments; ``units_moved``: the mean share of units that aligning a
        neighbour moved, None where nobody did; ``observed``: what those found, see ``instruments``, as far
        as there is any: ``counterfactual_accuracy``, ``_local_accuracy`` and ``_loss`` (means over the peers that
        measured, with ``..._spread`` and ``..._peers``), ``consensus_distance_<stage>``, ``gradient_norm``,
        ``units_moved`` (group -> share).
        """
        gaps: list[tuple[int, float]] = [(lost, came) for (_, lost), came in self._gaps.items()]
        gaps += [(lost, math.inf) for lost in self.lost_peers.values()]
        return [
            self._rounds[number].row(number, sum(lost <= number < came for lost, came in gaps))
            for number in sorted(self._rounds)
        ]

    def by_peer(self, column: str, peers: int | None = None) -> NDArray[np.float64]:
        """Return one figure of every peer: (rounds, peers), NaN where a peer told none; rounds as in ``rounds``.

        Args:
            column: one of ``COLUMNS``.
            peers: how many; by default all that told anything.
        """
        peers = self.peers() if peers is None else peers
        rows = [self._rounds[number].figures.get(column) for number in sorted(self._rounds)]
        told = [np.full(peers, np.nan) if figures is None else figures.values(peers) for figures in rows]
        return np.array(told, dtype=float).reshape(len(rows), peers)

    def reported(self, column: str) -> NDArray[np.int64]:
        """Return how many peers told one figure: (rounds,), rounds as in ``rounds``; see ``by_peer``."""
        told = [self._rounds[number].figures.get(column) for number in sorted(self._rounds)]
        return np.array([figures.spread()[2] if figures else 0 for figures in told], dtype=np.int64)

    def peers(self) -> int:
        """Return one more than the last peer that told a figure."""
        return max((figures.peers for entry in self._rounds.values() for figures in entry.figures.values()), default=0)

    def final(self) -> dict[str, Any]:
        """Return what the peers ended with: figures of the models that they saved.

        Returns:
            ``final_accuracy``, ``final_accuracy_spread``: mean and standard deviation over the saved models of the
            peers that were not lost, in percent, None without any; ``final_reported``: how many those are; ``final``:
            one dict per saved model, by peer.
        """
        kept = {peer: final for peer, final in sorted(self._finals.items()) if peer not in self.lost_peers}
        accuracies = [final.accuracy for final in kept.values() if final.accuracy is not None]
        return {
            "final_accuracy": float(np.mean(accuracies)) if accuracies else None,
            "final_accuracy_spread": float(np.std(accuracies)) if accuracies else None,
            "final_reported": len(accuracies),
            "final": [{"peer": peer, **_fields(final)} for peer, final in kept.items()],
        }

    def privacy(self) -> dict[str, Any] | None:
        """Return the largest epsilon that a device told last, and for which ``delta``; None in a run without privacy.

        ``epsilon`` is None if there is no bound for one of them.
        """
        told = [*self._privacy.values(), *self._privacy_before.values()]
        if not told:
            return None
        largest, delta = max(map(_epsilon, told)), max(one.delta for one in told)
        peers = len(self._privacy.keys() | self._privacy_before.keys())
        return {"epsilon": largest if math.isfinite(largest) else None, "delta": delta, "peers": peers}

    def problems(self) -> tuple[list[dict[str, Any]], int]:
        """Return failures, late peers and rejected payloads, as many as a summary shows, and how many there were."""
        shown = [*self._failures, *self._others[: max(0, _MAX_PROBLEMS - len(self._failures))]]
        return sorted(shown, key=lambda problem: problem["round"]), self._problems

    def _problem(self, stamped: Stamped, among: list[dict[str, Any]]) -> None:
        self._problems += 1
        if len(among) < _MAX_PROBLEMS or among is self._failures:
            line = stamped.to_line()
            if len(line.get("error", "")) > _SHOWN_TEXT:
                line["error"] = "... " + line["error"][-_SHOWN_TEXT:]
            among.append(line)


def _epsilon(told: Privacy) -> float:
    return math.inf if told.epsilon is None else told.epsilon


def _put(among: dict[str, PeerFigures], column: str, peer: int, value: float | None) -> None:
    if value is None:
        return
    figures = among.get(column)
    if figures is None:
        figures = among[column] = PeerFigures()
    figures.put(peer, value)


def _fields(final: Final) -> dict[str, Any]:
    return {key: value for key, value in to_json(final).items() if key != "event"}
