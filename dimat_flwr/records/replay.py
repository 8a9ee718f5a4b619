"""A run drawn again from what it left on disk, also one that was killed in the middle of a line."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dimat_flwr.events import EventError, Muted, Stamped
from dimat_flwr.records.errors import RecordsError
from dimat_flwr.records.files import replace_file
from dimat_flwr.records.report_page import draw_report
from dimat_flwr.records.run_folder import EVENTS_FILE, MESSAGES_FILE
from dimat_flwr.records.summary import SUMMARY_FILE, encode_summary, load_summary, split_summary, summarize
from dimat_flwr.records.timeline import TIMELINE_FILE, Timeline, read_timeline
from dimat_flwr.records.totals import Totals
from dimat_flwr.topology.exchange import is_observation


def replay(folder: Path) -> dict[str, Any]:
    """Work out a run's summary, plots and report anew from its files, and return the summary.

    What happened comes from metrics.jsonl, messages.csv and timeline.csv; what the run was (peers, graph, names), from
    its last summary.json, or where that is lost, from what the others show of it. Lines that cannot be read, such as
    half a last line, are left out; the summary's ``unread_lines`` says how many. A run that still goes on keeps its
    summary.json; any other gets the new one.

    Raises:
        RecordsError: the folder is not that of a run, or cannot be read or written.
    """
    replayed = _Replay()
    replayed.read_events(whole_lines(folder / EVENTS_FILE))
    replayed.read_messages(whole_lines(folder / MESSAGES_FILE))
    if (folder / TIMELINE_FILE).exists():  # a version before 0.2.0 wrote none
        replayed.read_times(whole_lines(folder / TIMELINE_FILE))
    if (folder / SUMMARY_FILE).exists():
        facts, state = split_summary(load_summary(folder))
    else:
        facts, state = replayed.seen(), _lost_state(folder)
    muted = {**state.get("muted", {}), **replayed.muted}
    summary = summarize(facts, replayed.totals, {**state, "muted": muted, "unread_lines": replayed.unread})
    if summary["status"] != "running":
        replace_file(folder / SUMMARY_FILE, encode_summary(summary))
    draw_report(folder, summary, replayed.totals, replayed.timeline)
    return summary


class _Replay:
    """The totals of a run, and what its lines show of it."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.muted: dict[str, int] = {}
        self.unread = 0
        self.timeline = Timeline()
        self._edges: set[tuple[int, int]] = set()
        self._highest = -1

    def read_events(self, lines: Iterator[bytes]) -> None:
        for line in lines:
            try:
                stamped = Stamped.from_line(line)
            except EventError:
                self.unread += 1
                continue
            self._highest = max(self._highest, stamped.peer)
            if isinstance(stamped.event, Muted):
                self.muted[str(stamped.peer)] = stamped.event.dropped
            self.totals.add(stamped)

    def read_messages(self, lines: Iterator[bytes]) -> None:
        next(lines, None)  # the names of the columns
        for line in lines:
            try:
                number, exchange, source, reader, count = read_message(line)
            except ValueError:
                self.unread += 1
                continue
            self.totals.add_bytes(number, count, exchange)
            if not is_observation(exchange):
                self._edges.add((source, reader))
            self._highest = max(self._highest, source, reader)

    def read_times(self, lines: Iterator[bytes]) -> None:
        self.timeline, unread = read_timeline(lines)
        self.unread += unread

    def seen(self) -> dict[str, Any]:
        """Return what the lines show of the run itself."""
        return {"peers": self._highest + 1, "edges": [[*edge, None] for edge in sorted(self._edges)]}


def read_message(line: bytes) -> tuple[int, str, int, int, int]:
    """Return round, exchange, source, reader and bytes from a line of messages.csv; ``ValueError`` for another line."""
    number, rest = line.split(b",", 1)
    name, source, reader, count = rest.rsplit(b",", 3)  # the exchange's name may hold commas
    return int(number), name.decode().strip('"'), int(source), int(reader), int(count)


def whole_lines(path: Path) -> Iterator[bytes]:
    """Yield a file's lines; one that is cut off comes as an empty one, since half a number still looks like one."""
    try:
        with path.open("rb") as file:
            for line in file:
                yield line if line.endswith(b"\n") else b""
    except OSError as error:
        raise RecordsError(
            f"cannot read {path}: {error.strerror}; give the folder of a run, as printed when it ended"
        ) from error


def _lost_state(folder: Path) -> dict[str, Any]:
    last_sign = datetime.fromtimestamp(os.stat(folder / EVENTS_FILE).st_mtime, UTC).isoformat(timespec="seconds")
    reason = f"{SUMMARY_FILE} is lost; this one was put together from the run's other files"
    return {"status": "interrupted", "reason": reason, "heartbeat": last_sign}
