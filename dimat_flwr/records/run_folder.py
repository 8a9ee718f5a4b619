"""The folder in which a run leaves its records, filled as the run goes so that a run cut short leaves what it had."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from logging import getLogger
from pathlib import Path
from typing import Any, Literal, Self

from dimat_flwr.events import Failure, Muted, Stamped, clip
from dimat_flwr.records.errors import RecordsError
from dimat_flwr.records.files import LineFile, replace_file
from dimat_flwr.records.location import make_run_folder
from dimat_flwr.records.report_page import REPORT_FILE, draw_report
from dimat_flwr.records.share import Shares
from dimat_flwr.records.summary import SUMMARY_FILE, Status, encode_summary, summarize, writer
from dimat_flwr.records.timeline import TIMELINE_COLUMNS, TIMELINE_FILE, Timeline, Worked
from dimat_flwr.records.totals import Totals

EVENTS_FILE, MESSAGES_FILE, CONFIG_FILE = "metrics.jsonl", "messages.csv", "config.yaml"
SETTINGS_FILE, INTRODUCTIONS_FILE = "settings.json", "introductions.json"
MESSAGE_COLUMNS = "round,exchange,source,reader,bytes\n"

_FLUSH_S = 1.0
_SUMMARY_S = 5.0
_REPORT_S = 15.0
# Writing a summary and drawing take at most this share of the run, but a sign of life must come in time.
_SUMMARY_COST, _REPORT_COST = 50, 20
_SUMMARY_AT_MOST_S = 20.0
_REASON = 2_000  # characters
AWAY = "superlink_away_s"  # a fact

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_log = getLogger("flwr")


class RunFolder:
    """A run's records, from config.yaml to report.html.

    That is config.yaml, settings.json, metrics.jsonl, messages.csv, timeline.csv, summary.json, plots and the report;
    where peers sign, introductions.json.

    Events and bytes are gathered and handed to the disk about once a second; the summary follows every few seconds with
    a heartbeat, by which ``load_summary`` knows a run that was killed. Not thread-safe: the relay writes from one
    thread. Every writing method raises ``RecordsError`` where a file cannot be written, and the same one from then on,
    so that nothing is written behind half a line.

    Attributes:
        path: the absolute folder.
        write_through: whether ``commit`` waits for nothing: peers keep checkpoints, from which the run may be gone on
            with, and what they have told must be here before they forget it.
    """

    def __init__(self, path: Path) -> None:
        """Begin the records in an empty folder."""
        self._prepare(path)
        self._events = LineFile(path / EVENTS_FILE)
        self._messages = LineFile(path / MESSAGES_FILE, MESSAGE_COLUMNS)
        self._times = LineFile(path / TIMELINE_FILE, TIMELINE_COLUMNS)
        self._write_summary(self.summary())

    def _prepare(self, path: Path) -> None:
        self.path = path
        self.write_through = False
        self._begun = time.monotonic()
        self._started = _now()
        self._command: str | None = None
        self._first_training: float | None = None
        self._facts: dict[str, Any] = {}
        self._totals = Totals()
        self._timeline = Timeline()
        self._shares = Shares()
        self._fault: RecordsError | None = None
        self._flush_due = self._summary_due = self._begun
        self._report_due = self._begun + _REPORT_S
        self._away_before = 0.0

    @classmethod
    def create(cls, output_dir: str | Path, name: str, now: datetime | None) -> Self:
        """Make a fresh folder ``<output_dir>/<YYYY-MM-DD_HHMMSS>-<name>`` and try out that it can be written to.

        Args:
            output_dir: the folder of all runs, made where missing; ``~`` is the home folder.
            name: what to call the run, usable in a folder's name.
            now: the time of start; None: the folder is called by the name alone, and must not be there yet.

        Raises:
            RecordsError: bad name, a file in the way, no permission, read-only or full disk.
        """
        return cls(make_run_folder(output_dir, name, now))

    def write_config(self, text: str, command: str) -> None:
        """Write config.yaml: the resolved configuration below the command that made it, as a comment."""
        self._command = command
        comment = "".join(f"#   {line}\n" for line in command.splitlines())
        whole = f"# The resolved configuration of this run, made by\n{comment}{text.rstrip()}\n"
        self._attempt(lambda: replace_file(self.path / CONFIG_FILE, whole.encode()))

    def write_settings(self, run_config: Mapping[str, Any]) -> None:
        """Write settings.json: Flower's run-config, which a run that is gone on with takes again."""
        text = json.dumps(dict(run_config), indent=1, sort_keys=True) + "\n"
        self._attempt(lambda: replace_file(self.path / SETTINGS_FILE, text.encode()))

    def write_introductions(self, introductions: Mapping[int, str]) -> None:
        """Write introductions.json: what the peers of a run that signs have let the others know of themselves."""
        text = json.dumps(dict(introductions), indent=1) + "\n"
        self._attempt(lambda: replace_file(self.path / INTRODUCTIONS_FILE, text.encode(), durable=True))

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Add to what the summary says the run is, and write it.

        Args:
            facts: see ``summarize``; ``exchanges``, how many each peer takes part in, sets the share of the record that
                a peer may use up.
        """
        described = {**self._facts, **facts}
        summary = self._summary(described, "running", None)  # refuses facts before any is taken
        self._facts = described
        self._shares.allow(int(described.get("exchanges") or 0))
        self._attempt(lambda: self._write_summary(summary))

    def event(self, stamped: Stamped) -> None:
        """Append one JSON line to metrics.jsonl and count it, unless its peer used up its share of the record."""
        line = _encode(stamped.to_line()) + "\n"
        if not self._shares.take(stamped.peer, stamped.event, len(line) if line.isascii() else len(line.encode())):
            if self._shares.dropped[stamped.peer] == 1:
                _log.warning("round %d: peer %d used up its share of the record", stamped.round, stamped.peer)
                self._say_muted(stamped.peer, stamped.round, stamped.exchange)
            return
        self._totals.add(stamped)
        if self._first_training is None and self._totals.trained:
            self._first_training = round(time.monotonic() - self._begun, 3)
        self._append(self._events, line)
        if isinstance(stamped.event, Failure):
            self._attempt(self._flush)

    def edge_bytes(self, round_number: int, exchange: str, source: int, reader: int, count: int) -> None:
        """Append to messages.csv that ``count`` bytes went from peer ``source`` to peer ``reader``."""
        self._totals.add_bytes(round_number, count, exchange)
        name = exchange if exchange.isidentifier() else f'"{exchange.replace(chr(34), chr(34) * 2)}"'
        self._append(self._messages, f"{round_number},{name},{source},{reader},{count}\n")

    def answered(
        self, round_number: int, exchange: str, peer: int, took: float, working: float, training: float, merging: float
    ) -> None:
        """Append to timeline.csv that a peer has now done an exchange.

        Args:
            round_number: of the exchange.
            exchange: its name.
            peer: who.
            took: seconds since it was asked.
            working: seconds of these that the peer says it worked; the rest are the message's way and its queue.
            training: seconds of these that it trained.
            merging: seconds of these that it aligned and mixed.
        """
        now = time.monotonic() - self._begun
        worked = Worked.measured(round_number, exchange, peer, max(0.0, now - took), now, working, training, merging)
        self._timeline.add(worked)
        self._append(self._times, worked.to_line())

    def out_of_reach(self, seconds: float) -> None:
        """Write down, as ``superlink_away_s``, for how long nobody could be reached since the relay began.

        It adds up over all stretches of a run that was gone on with.
        """
        self.describe({AWAY: round(self._away_before + seconds, 1)})

    def commit(self) -> None:
        """Hand to the disk what waits, if the run may be gone on with."""
        if self.write_through:
            self._attempt(self._flush)

    def heartbeat(self, now: float | None = None) -> None:
        """Hand to the disk what waits, and rewrite the summary every few seconds; costs nothing while nothing is due.

        Args:
            now: ``time.monotonic()``, by default this moment.
        """
        now = time.monotonic() if now is None else now
        if now >= self._flush_due:
            self._attempt(self._flush)
            self._flush_due = now + _FLUSH_S
        if now >= self._summary_due:
            began = time.monotonic()
            self._attempt(lambda: self._write_summary(self.summary()))
            took = time.monotonic() - began
            self._summary_due = now + min(max(_SUMMARY_S, _SUMMARY_COST * took), _SUMMARY_AT_MOST_S)

    def refresh_report(self, now: float | None = None) -> None:
        """Draw the plots and the report of the run so far, if the last drawing was long enough ago.

        Args:
            now: ``time.monotonic()``, by default this moment.
        """
        now = time.monotonic() if now is None else now
        if now >= self._report_due:
            began = time.monotonic()
            self._draw(self.summary())
            self._report_due = now + max(_REPORT_S, _REPORT_COST * (time.monotonic() - began))

    def summary(self) -> dict[str, Any]:
        """Return what summary.json would say now."""
        return self._summary(self._facts, "running", None)

    def finish(
        self,
        status: Literal["completed", "incomplete", "failed"],
        reason: str | None = None,
        *,
        parts: Sequence[Sequence[int]] | None = None,
    ) -> dict[str, Any]:
        """Write everything down for good, draw, and return the summary.

        Args:
            status: ``completed`` becomes ``incomplete`` where peers were lost or the survivors fell apart: a run that
                lost something does not say that it has everything.
            reason: why it failed or is incomplete; for the latter the losses are added.
            parts: the groups of surviving peers that no longer reach each other, where there are several.

        If the disk has already failed, this writes what it can and does not raise again: the first error said it.
        """
        reason = None if reason is None else clip(reason, _REASON)
        apart = [sorted(part) for part in parts] if parts and len(parts) > 1 else None
        losses = _losses(self._totals.lost_peers, self._facts.get("peers"), apart)
        if losses and status != "failed":
            status, reason = "incomplete", "; ".join([*([reason] if reason else []), *losses])
        if (status == "completed") == bool(reason):
            raise RecordsError(f"a run is completed, or it has a reason why not; but it has {status=} and {reason=}")
        for peer in self._shares.dropped:
            self._say_muted(peer, 0, "end")
        summary = self._summary(self._facts, status, reason, apart)
        if self._fault is None:
            try:
                self._attempt(self._flush)
                self._attempt(lambda: self._write_summary(summary))
            except RecordsError as error:
                self._write_last_summary(self._summary(self._facts, "failed", f"{reason or error}", apart))
                raise
        else:
            self._write_last_summary(summary)
        self._draw(summary)
        return summary

    def _summary(
        self, facts: Mapping[str, Any], status: Status, reason: str | None, parts: list[list[int]] | None = None
    ) -> dict[str, Any]:
        state = {
            "status": status,
            "reason": reason,
            "started": self._started,
            "heartbeat": _now(),
            "writer": writer(),
            "command": self._command,
            "wall_seconds": round(time.monotonic() - self._begun, 3),
            "first_training_seconds": self._first_training,
            "parts": parts,
            "muted": {str(peer): dropped for peer, dropped in sorted(self._shares.dropped.items())},
        }
        return summarize(facts, self._totals, state)

    def _say_muted(self, peer: int, round_number: int, exchange: str) -> None:
        line = Stamped(Muted(self._shares.dropped[peer]), round_number, peer, exchange).to_line()
        self._events.add(_encode(line) + "\n")

    def _append(self, file: LineFile, line: str) -> None:
        file.add(line)
        if self._fault is not None or file.is_full or time.monotonic() >= self._flush_due:
            self._attempt(self._flush)
            self._flush_due = time.monotonic() + _FLUSH_S

    def _flush(self) -> None:
        self._events.flush()
        self._messages.flush()
        self._times.flush()

    def _write_summary(self, summary: Mapping[str, Any]) -> None:
        replace_file(self.path / SUMMARY_FILE, encode_summary(summary), durable=True)

    def _write_last_summary(self, summary: Mapping[str, Any]) -> None:
        """Write how the run ended, on a full disk in the room of the report: that can be drawn again, this cannot."""
        try:
            try:
                self._write_summary(summary)
            except RecordsError:
                (self.path / REPORT_FILE).unlink(missing_ok=True)
                self._write_summary(summary)
        except (RecordsError, OSError) as error:
            _log.error("how the run ended is not in its summary: %s", error)

    def _attempt(self, write: Callable[[], None]) -> None:
        if self._fault is not None:
            raise self._fault
        try:
            write()
        except RecordsError as error:
            self._fault = error
            raise

    def _draw(self, summary: dict[str, Any]) -> None:
        try:
            draw_report(self.path, summary, self._totals, self._timeline)
        except Exception:  # noqa: BLE001 - no drawing is worth a run; it can be drawn again from the files
            _log.exception("the report could not be drawn; `dimat-flwr report %s` tries again", self.path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _losses(lost: Mapping[int, int], peers: int | None, parts: list[list[int]] | None) -> list[str]:
    found = []
    if lost:
        noun = "peers" if (peers or len(lost)) > 1 else "peer"
        shown = ", ".join(f"peer {peer} in round {when}" for peer, when in sorted(lost.items())[:10])
        of = f" of {peers}" if peers else ""
        verb = "were" if len(lost) > 1 else "was"
        found.append(f"{len(lost)}{of} {noun} {verb} lost ({shown}{', ...' if len(lost) > 10 else ''})")
    if parts:
        shown = ", ".join(
            f"{{{', '.join(map(str, part[:10]))}{', ...' if len(part) > 10 else ''}}}" for part in parts[:10]
        )
        found.append(f"the peers left fell into {len(parts)} parts that do not reach each other: {shown}")
    return found
