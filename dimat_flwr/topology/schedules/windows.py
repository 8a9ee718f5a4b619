"""Exchange in chosen windows of rounds."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Self

from pydantic import field_validator, model_validator
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.errors import ScheduleError
from dimat_flwr.topology.schedules.base import Mode, Schedule

Window = tuple[int, int, Mode]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Windows(Schedule):
    """Peers exchange as the window around a round says and train alone outside all windows.

    Communication late is worth more than communication early (ICLR 2026), hence the default: three late rounds.

    Attributes:
        windows: ``[start, end, mode]`` each, both ends included, rounds counted from 1, without overlap; mode is
            ``none``, ``topology`` or ``fully_connected``.
    """

    windows: tuple[Window, ...] = ((8, 10, "topology"),)

    @field_validator("windows", mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        """Turn the sequences of Hydra's own type, which pydantic does not take for tuples, into lists of three."""
        if isinstance(value, str) or not isinstance(value, Iterable):
            return value
        windows = [list(w) if isinstance(w, Iterable) and not isinstance(w, str) else w for w in value]
        for window in windows:
            if not isinstance(window, list) or len(window) != 3:
                raise ValueError(
                    f"window {window}: write [first round, last round, mode], mode none, topology or fully_connected"
                )
        return windows

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.windows:
            raise ValueError("give at least one window [start, end, mode], or choose schedule: none")
        for start, end, mode in self.windows:
            if not 1 <= start <= end:
                raise ValueError(f"window [{start}, {end}, {mode}]: rounds count from 1 and start must not follow end")
        for (s1, e1, m1), (s2, e2, m2) in pairwise(sorted(self.windows)):
            if s2 <= e1:
                raise ValueError(f"windows [{s1}, {e1}, {m1}] and [{s2}, {e2}, {m2}] overlap; a round has one mode")
        return self

    def exchange(self, round: int) -> Mode:
        """Return the mode of the window around the round, ``"none"`` outside all windows."""
        return next((mode for start, end, mode in self.windows if start <= round <= end), "none")

    def check(self, rounds: int) -> None:
        """Refuse, beside what every schedule refuses, windows that end after the last round."""
        super().check(rounds)
        outside = [f"[{start}, {end}, {mode}]" for start, end, mode in self.windows if end > rounds]
        if outside:
            raise ScheduleError(
                f"these windows end after the last round, {rounds}: {', '.join(outside)}; "
                "change schedule.windows or rounds"
            )
