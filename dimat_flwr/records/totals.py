"""A run's running totals: each event is taken once, when it happens, and never looked at again.

A figure of a round is a mean over peers, each of which counts once with the last that it said. So a round keeps one
number per peer and figure (8 bytes), and what was worked out of them is kept until one of them changes.
"""

import math
from array import array
from collections import defaultdict
from typing import Any

import numpy as np

from dimat_flwr.events import STAGES, Evaluation, Failure, Final, Late, Merge, Rejected, Stamped, Training, to_json

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

    def spread(self) -> tuple[float, float, int]:
        """Return mean, standard deviation and number of the numbers there are."""
        if self._worked_out is None:
            values = np.array(self._values)
            values = values[~np.isnan(values)]
            self._worked_out = float(values.mean()), float(values.std()), len(values)
        return self._worked_out


class RoundTotals:
    """What happened in one round."""

    def __init__(self) -> None:
        self.figures: dict[str, PeerFigures] = {}
        self.told = 0  # bit i: peer i evaluated, trained or merged
        self.failures = self.late = self.rejected = self.bytes = 0

    def put(self, column: str, peer: int, value: float | None) -> None:
        """Take one peer's figure; None is not reported."""
        if value is None:
            return
        figures = self.figures.get(column)
        if figures is None:
            figures = self.figures[column] = PeerFigures()
        figures.put(peer, value)

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
        }


class Totals:
    """All that a summary says of a run's events.

    Attributes:
        lost_peers: peer -> the round in which it failed.
        bytes_total: sent over all edges.
        trained: whether any peer has trained.
    """

    def __init__(self) -> None:
        self.lost_peers: dict[int, int] = {}
        self.bytes_total = 0
        self.trained = False
        self._rounds: defaultdict[int, RoundTotals] = defaultdict(RoundTotals)
        self._finals: dict[int, Final] = {}
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
            case Final():
                self._finals[peer] = event
            case Failure():
                entry.failures += 1
                self.lost_peers.setdefault(peer, stamped.round)
                self._problem(stamped, self._failures)
            case Late():
                entry.late += 1
                self._problem(stamped, self._others)
            case Rejected():
                entry.rejected += 1
                self._problem(stamped, self._others)

    def add_bytes(self, round_number: int, count: int) -> None:
        """Take bytes that went along an edge."""
        self._rounds[round_number].bytes += count
        self.bytes_total += count

    def rounds(self) -> list[dict[str, Any]]:
        """Return one dict per round that left a trace, in order.

        Its keys: ``round``; ``accuracy_<stage>``, ``local_accuracy_<stage>`` (percent), ``loss_<stage>`` (test set) and
        ``loss`` (of training): means over the peers that reported them, None where none did, each with ``..._spread``,
        the standard deviation; ``peers``: how many evaluated, trained or merged; ``lost``: how many had failed by then;
        ``failures``, ``late``, ``rejected``: how many in this round; ``bytes``: sent over all edges.
        """
        when = sorted(self.lost_peers.values())
        return [
            self._rounds[number].row(number, sum(lost <= number for lost in when)) for number in sorted(self._rounds)
        ]

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


def _fields(final: Final) -> dict[str, Any]:
    return {key: value for key, value in to_json(final).items() if key != "event"}
