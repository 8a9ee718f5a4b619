"""The folder of a run that is gone on with: read first, and taken up where it was left when that is known."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dimat_flwr.events import EventError, Failure, Joined, Muted, Stamped, Vacant
from dimat_flwr.records.errors import RecordsError
from dimat_flwr.records.files import LineFile, replace_file
from dimat_flwr.records.replay import read_message, whole_lines
from dimat_flwr.records.run_folder import (
    AWAY,
    CONFIG_FILE,
    EVENTS_FILE,
    INTRODUCTIONS_FILE,
    MESSAGE_COLUMNS,
    MESSAGES_FILE,
    SETTINGS_FILE,
    RunFolder,
)
from dimat_flwr.records.summary import load_summary, split_summary
from dimat_flwr.records.timeline import TIMELINE_COLUMNS, TIMELINE_FILE, Worked


class ContinuedFolder(RunFolder):
    """A ``RunFolder`` with the records of a run that has ended or was cut off.

    Nothing is written before ``go_on``: a run that cannot be gone on with keeps what it had.

    Attributes:
        peers: how many there are.
        out: places that nobody is in: peers that have failed, and places vacant from the start.
        settings: the run-config that it was started with; ``write_settings`` replaces it.
    """

    def __init__(self, path: Path) -> None:
        """Read what there is.

        Raises:
            RecordsError: it is not a run's folder, the run still goes on, or it was made by a version that did not
                write down what is needed.
        """
        self._prepare(path)
        self._goes_on = False
        self._config: tuple[str, str] | None = None
        facts, state = split_summary(_load_ended(path))
        peers = facts.get("peers")
        if not isinstance(peers, int):
            raise RecordsError(f"{path} was cut off before its peers were counted; start the run anew")
        self.peers = peers
        self._facts, self._state = facts, state
        self._away_before = float(facts.get(AWAY) or 0.0)
        self.settings: dict[str, Any] = self._read_settings()
        self.out = self._places_empty()

    def _places_empty(self) -> frozenset[int]:
        out: set[int] = set()
        for stamped in self.earlier_events():
            match stamped.event:
                case Failure() | Vacant():
                    out.add(stamped.peer)
                case Joined():
                    out.discard(stamped.peer)
        return frozenset(out)

    def config_text(self) -> str:
        """Return the resolved configuration that the run had, as YAML."""
        try:
            return (self.path / CONFIG_FILE).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise RecordsError(
                f"cannot read {self.path / CONFIG_FILE}, with which the run was made: {error}"
            ) from error

    def earlier_events(self) -> Iterator[Stamped]:
        """Yield the events in metrics.jsonl that can be read."""
        for line in whole_lines(self.path / EVENTS_FILE):
            try:
                yield Stamped.from_line(line)
            except EventError:
                continue  # half a last line, which what is done again replaces

    def write_config(self, text: str, command: str) -> None:
        """Take the configuration that the run goes on with; the command is added to those that made it so far."""
        before = self._state.get("command")
        self._config = text, f"{before}\n{command}" if before else command

    def write_settings(self, run_config: Mapping[str, Any]) -> None:
        """Take the run-config that the run goes on with."""
        self.settings = dict(run_config)

    def settings_of_peers(self, simulation: bool) -> dict[str, Any]:
        """Return the run-config that peers are to take: those of a simulation have the run's folder where it is now."""
        return {**self.settings, **({"output-dir": str(self.path.parent)} if simulation else {})}

    def introductions(self) -> dict[int, str]:
        """Return place -> what its peer said of itself when the run began; empty where nobody signed."""
        from dimat_flwr.security.identity import read_introduction  # brings cryptography

        path = self.path / INTRODUCTIONS_FILE
        if not path.exists():
            return {}
        try:
            found = {int(place): str(text) for place, text in json.loads(path.read_text(encoding="utf-8")).items()}
            for text in found.values():
                read_introduction(text)
            return found
        except (OSError, ValueError, AttributeError) as error:
            raise RecordsError(f"cannot read {path}, by which the peers of the run know each other: {error}") from error

    def describe(self, facts: Mapping[str, Any]) -> None:
        """See ``RunFolder``; written from ``go_on`` on."""
        if self._goes_on:
            super().describe(facts)
        else:
            self._facts = {**self._facts, **facts}

    def require_ended(self) -> None:
        """Refuse a run that somebody else has taken up since this began; raises ``RecordsError``."""
        _load_ended(self.path)

    def go_on(self, holds: Callable[[Stamped], bool], was_read: Callable[[int, str, int], bool]) -> None:
        """Take up the record.

        Args:
            holds: whether an event stays in it; the others will be told again.
            was_read: the same of what went to a reader (round, exchange, reader).

        Raises:
            RecordsError: somebody else has taken it up meanwhile, or it cannot be read or written.
        """
        self.require_ended()
        now = time.monotonic()
        self._begun = now - (self._state.get("wall_seconds") or 0.0)
        self._started = self._state.get("started") or self._started
        self._first_training = self._state.get("first_training_seconds")
        self._shares.allow(int(self._facts.get("exchanges") or 0))
        self._take_events(holds)
        self._take_messages(was_read)
        self._take_times(was_read)
        self._goes_on = True
        if self._config:
            super().write_config(*self._config)
        super().write_settings(self.settings)
        self._write_summary(self.summary())

    def finish(
        self,
        status: Literal["completed", "incomplete", "failed"],
        reason: str | None = None,
        *,
        parts: Sequence[Sequence[int]] | None = None,
    ) -> dict[str, Any]:
        """See ``RunFolder``; a run that was not taken up stays as it was."""
        if self._goes_on:
            return super().finish(status, reason, parts=parts)
        return load_summary(self.path)

    def _take_events(self, holds: Callable[[Stamped], bool]) -> None:
        lines = []
        for stamped in self.earlier_events():
            if not holds(stamped):
                continue
            line = json.dumps(stamped.to_line(), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
            if isinstance(stamped.event, Muted):
                self._shares.dropped[stamped.peer] = stamped.event.dropped
            elif not self._shares.take(stamped.peer, stamped.event, len(line.encode())):
                continue
            self._totals.add(stamped)
            lines.append(line)
        replace_file(self.path / EVENTS_FILE, "".join(lines).encode(), durable=True)
        self._events = LineFile(self.path / EVENTS_FILE)

    def _take_messages(self, was_read: Callable[[int, str, int], bool]) -> None:
        lines = [MESSAGE_COLUMNS.encode()]
        for line in whole_lines(self.path / MESSAGES_FILE):
            try:
                round, exchange, _, reader, count = read_message(line)
            except ValueError:
                continue  # the names of the columns, or half a last line
            if was_read(round, exchange, reader):
                self._totals.add_bytes(round, count, exchange)
                lines.append(line)
        replace_file(self.path / MESSAGES_FILE, b"".join(lines), durable=True)
        self._messages = LineFile(self.path / MESSAGES_FILE)

    def _take_times(self, was_read: Callable[[int, str, int], bool]) -> None:
        path = self.path / TIMELINE_FILE  # a version before 0.2.0 wrote none
        lines = [TIMELINE_COLUMNS.encode()]
        for line in whole_lines(path) if path.exists() else ():
            try:
                worked = Worked.from_line(line)
            except ValueError:
                continue  # the names of the columns, or half a last line
            if was_read(worked.round, worked.exchange, worked.peer):
                self._timeline.add(worked)
                lines.append(line)
        replace_file(path, b"".join(lines), durable=True)
        self._times = LineFile(path)

    def _read_settings(self) -> dict[str, Any]:
        try:
            found = json.loads((self.path / SETTINGS_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RecordsError(
                f"cannot read {self.path / SETTINGS_FILE}: {error}; a run can be gone on with from the version on that "
                "writes this file"
            ) from error
        if not isinstance(found, dict):
            raise RecordsError(f"{self.path / SETTINGS_FILE} is not the run-config of a run")
        return found


def _load_ended(path: Path) -> dict[str, Any]:
    summary = load_summary(path)
    if summary["status"] == "running":
        who = summary.get("writer") or {}
        raise RecordsError(
            f"the run in {path} still goes on (process {who.get('process')} on {who.get('host')}, last sign of life "
            f"{summary['heartbeat']}); end it first"
        )
    return summary
