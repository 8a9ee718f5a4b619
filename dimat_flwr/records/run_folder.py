"""The folder in which a run leaves its records, filled as the run goes so that a run cut short leaves what it had."""

import csv
import io
import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from dimat_flwr.records.errors import RecordsError
from dimat_flwr.records.location import make_run_folder
from dimat_flwr.records.plain import plain
from dimat_flwr.records.report_page import draw_report
from dimat_flwr.records.summary import SUMMARY_FILE, summarize

_MESSAGE_COLUMNS = ("round", "phase", "source", "target", "bytes")


class RunFolder:
    """A run's records: config.yaml, metrics.jsonl, messages.csv, summary.json, two plots and report.html.

    Not thread-safe: the relay writes from one thread. Every writing method raises ``RecordsError`` where the file
    cannot be written.

    Attributes:
        path: the absolute folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._started = time.monotonic()
        self._command: str | None = None
        self._events: list[dict[str, Any]] = []
        self._round_bytes: Counter[int] = Counter()
        self._summary: dict[str, Any] | None = None
        self._append("metrics.jsonl", "")
        self._append("messages.csv", ",".join(_MESSAGE_COLUMNS) + "\n")

    @classmethod
    def create(cls, output_dir: str | Path, name: str, now: datetime) -> Self:
        """Make a fresh folder ``<output_dir>/<YYYY-MM-DD_HHMMSS>-<name>`` and try out that it can be written to.

        Args:
            output_dir: the folder of all runs, made where missing; ``~`` is the home folder.
            name: what to call the run, usable in a folder's name.
            now: the time of start.

        Raises:
            RecordsError: bad name, a file in the way, no permission, read-only or full disk.
        """
        return cls(make_run_folder(output_dir, name, now))

    def write_config(self, yaml_text: str, command: str) -> None:
        """Write config.yaml: the resolved configuration below the command that made it, as a comment."""
        self._command = command
        comment = "".join(f"#   {line}\n" for line in command.splitlines())
        self._replace(
            "config.yaml", f"# The resolved configuration of this run, made by\n{comment}{yaml_text.rstrip()}\n"
        )

    def event(self, event: Mapping[str, Any]) -> None:
        """Append one JSON line to metrics.jsonl.

        Args:
            event: ``event`` (its kind, a str), ``round`` (int), mostly ``peer`` (int) and the values of its kind;
                numpy values are taken, NaN becomes null.

        Raises:
            RecordsError: kind or round are missing or of another type, or a value cannot be recorded.
        """
        first = {key: event[key] for key in ("event", "round", "peer") if key in event}
        line = plain({**first, **event}, f"event {event.get('event')}")
        if not isinstance(line.get("event"), str) or not isinstance(line.get("round"), int):
            raise RecordsError(f"an event needs 'event' (a str) and 'round' (an int), but this has not: {line}")
        self._events.append(line)
        self._append("metrics.jsonl", json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")

    def edge_bytes(self, round_number: int, phase: int | str, source: int, target: int, size: int) -> None:
        """Append to messages.csv that ``size`` bytes went from peer ``source`` to peer ``target``."""
        self._round_bytes[round_number] += size
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow((round_number, phase, source, target, size))
        self._append("messages.csv", line.getvalue())

    def write_summary(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Replace summary.json at once and return what it holds; see ``summarize`` for the facts it needs."""
        wall_seconds = time.monotonic() - self._started
        self._summary = summarize(
            facts, self._events, self._round_bytes, command=self._command, wall_seconds=wall_seconds
        )
        self._replace(SUMMARY_FILE, json.dumps(self._summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        return self._summary

    def plots(self) -> list[Path]:
        """Draw accuracy.png, topology.png and report.html from the last summary and return their paths."""
        if self._summary is None:
            raise RecordsError("there is nothing to draw yet; call write_summary before plots")
        return draw_report(self.path, self._summary)

    def _append(self, name: str, text: str) -> None:
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:  # closing it hands the line to the system
                file.write(text)
        except OSError as error:
            raise self._unwritten(name, error) from error

    def _replace(self, name: str, text: str) -> None:
        """Write a file so that a reader, or a crash, meets the old or the new one, never half of one."""
        new = self.path / f".{name}.new"
        try:
            with new.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path / name)
        except OSError as error:
            raise self._unwritten(name, error) from error

    def _unwritten(self, name: str, error: OSError) -> RecordsError:
        return RecordsError(f"cannot write {self.path / name}: {error.strerror}; is the disk full, or the folder gone?")
