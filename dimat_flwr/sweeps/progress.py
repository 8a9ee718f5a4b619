"""One line on how far a sweep is and what time is left."""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from dimat_flwr.records.headline import readable_time
from dimat_flwr.sweeps.record import Standing

_LAST = 0.05  # share of a cell's time that is left of one that has taken longer than those before
_UNLIKE = "seed"  # cells that differ in it alone take about the same time


class Progress:
    """Says how far a sweep is: on a terminal one line in its place, elsewhere a line for each cell that ends."""

    def __init__(self, standings: Sequence[Standing], axes: Sequence[str], jobs: int, out: TextIO = sys.stderr) -> None:
        """Prepare for the cells of a sweep.

        Args:
            standings: all of its cells, whose standing changes as the sweep goes.
            axes: the keys in which they differ.
            jobs: how many are run at a time.
            out: where to write.
        """
        self._standings, self._axes, self._jobs, self._out = standings, list(axes), jobs, out
        self._began: dict[str, float] = {}
        self._in_place = out.isatty()
        self._width = 0

    def begun(self, standing: Standing) -> None:
        """Take that a cell has begun; on a terminal, say how far it is."""
        self._began[standing.id] = time.monotonic()
        if self._in_place:
            self._say(self._line())

    def ended(self, standing: Standing, accuracy: float | None) -> None:
        """Say how far it is, and what became of a cell."""
        name = " ".join(f"{key}={_text(standing.cell.values[key])}" for key in self._axes) or "the only cell"
        if standing.status == "failed":
            self._say(f"failed: {name}: {standing.reason}", stays=True)
            if self._in_place:
                self._say(self._line())
            return
        told = "" if accuracy is None else f": {accuracy:.1f} %"
        self._say(f"{self._line()}  {name}{told}")

    def close(self) -> None:
        """Leave the line as it is."""
        if self._in_place and self._width:
            self._out.write("\n")
            self._out.flush()

    def left(self) -> float | None:
        """Return the seconds that are left, None while nothing is known: cells that differ in the seed are alike."""
        known: dict[str, list[float]] = defaultdict(list)
        for standing in self._standings:
            if standing.status == "completed" and standing.seconds is not None:
                known[_kind(standing.cell.values)].append(standing.seconds)
        if not known:
            return None
        every = [seconds for some in known.values() for seconds in some]
        now, left = time.monotonic(), [0.0]
        for standing in {one.id: one for one in self._standings if one.status in ("pending", "running")}.values():
            alike = known.get(_kind(standing.cell.values), every)
            whole = sum(alike) / len(alike)
            spent = now - self._began.get(standing.id, now) if standing.status == "running" else 0.0
            left.append(max(whole - spent, _LAST * whole))
        return max(sum(left) / self._jobs, max(left))  # the last cell is no faster for processes that have none

    def _line(self) -> str:
        by_id = {standing.id: standing.status for standing in self._standings}
        count = {status: list(by_id.values()).count(status) for status in ("completed", "failed", "running")}
        failed = f", {count['failed']} failed" if count["failed"] else ""
        left = self.left()
        time = "" if left is None else f"  {readable_time(left)} left"
        return f"{count['completed']:>{len(str(len(by_id)))}}/{len(by_id)} cells{failed}{time}"

    def _say(self, line: str, *, stays: bool = False) -> None:
        if self._in_place:
            shown = line.splitlines()[0][:160] if not stays else line
            self._out.write(f"\r{shown:<{self._width}}" + ("\n" if stays else ""))
            self._width = 0 if stays else len(shown)
        else:
            self._out.write(f"{line}\n")
        self._out.flush()


def _kind(values: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in values.items() if key != _UNLIKE}, sort_keys=True)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
