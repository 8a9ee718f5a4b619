"""How a run and each of its peers stand, read from the record without changing it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from dimat_flwr.events import (
    Away,
    CaughtUp,
    Evaluation,
    EventError,
    Failure,
    Final,
    Joined,
    Late,
    Note,
    PeerEvent,
    Rejected,
    Resumed,
    Returned,
    Stamped,
    Vacant,
)
from dimat_flwr.records.replay import read_message, whole_lines
from dimat_flwr.records.run_folder import EVENTS_FILE, MESSAGES_FILE
from dimat_flwr.records.summary import load_summary

PeerState = Literal["active", "late", "away", "failed", "vacant", "done", "stopped"]
PEER_STATES: tuple[PeerState, ...] = get_args(PeerState)
COUNTED = ("away", "late", "returned", "rejected", "warnings")


@dataclass
class Standing:
    """How a peer stands.

    Attributes:
        state: ``active`` (at work, or waiting for others), ``late`` (others went on without it), ``away`` (it cannot be
            reached), ``failed`` (out), ``vacant`` (nobody has come into this place), ``done``, or ``stopped`` (the run
            has ended before this peer had, and asks nothing of it any more).
        since: the round in which it came to be so.
        round: the last round of which it told anything; -1 before it did.
        exchange: the exchange of that round.
        accuracy: the last that it reported, in percent.
        sent: bytes of its payloads, once for each reader.
        read: bytes of the payloads it was handed.
        counts: how often each of ``COUNTED`` happened to it.
    """

    state: PeerState = "active"
    since: int = 0
    round: int = -1
    exchange: str = ""
    accuracy: float | None = None
    sent: int = 0
    read: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))

    def take(self, event: Any, when: Stamped) -> None:
        """Take what happened to the peer, in the order of the record."""
        match event:
            case Failure():
                self._become("failed", when.round)
            case Vacant():
                self._become("vacant", when.round)
            case Joined():  # what was said of the one before it in its place counts no longer
                self.state, self.since, self.round, self.exchange = "active", when.round, when.round - 1, when.exchange
            case Away():
                self.counts["away"] += 1
                self._become("away", when.round)
            case Late():
                self.counts["late"] += 1
                self._become("late", when.round)
            case Returned():
                self.counts["returned"] += 1
                self._become("active", when.round)
            case CaughtUp() | Resumed():
                self._become("active", when.round)
            case Rejected():  # by this peer or, on its way to it, by the relay: it says nothing about how far it is
                self.counts["rejected"] += 1
            case _ if isinstance(event, PeerEvent):
                self._told(event, when)

    def _told(self, event: PeerEvent, when: Stamped) -> None:
        self.round, self.exchange = when.round, when.exchange
        if self.state in ("away", "late"):  # what it tells comes with an answer
            self._become("active", when.round)
        match event:
            case Evaluation(accuracy=accuracy) if accuracy is not None:
                self.accuracy = accuracy
            case Final():
                self._become("done", when.round)
                self.accuracy = self.accuracy if event.accuracy is None else event.accuracy
            case Note(name="warning"):
                self.counts["warnings"] += 1

    def stop(self) -> None:
        """Take note that the run has ended."""
        if self.state in ("active", "late", "away"):
            self._become("stopped", max(self.since, self.round, 0))

    def _become(self, state: PeerState, since: int) -> None:
        if state != self.state and self.state != "failed":
            self.state, self.since = state, since


@dataclass(frozen=True)
class RunStanding:
    """How a run stands.

    Attributes:
        name: of its folder.
        summary: its summary, see ``load_summary``.
        peers: peer -> how it stands; without those of which nothing is known yet if the number of peers is not known.
        silent: seconds since the last heartbeat.
    """

    name: str
    summary: dict[str, Any]
    peers: dict[int, Standing]
    silent: float

    @property
    def round(self) -> int:
        """The last round that all peers who have not failed told something of; -1 before the start."""
        return min((peer.round for peer in self.peers.values() if peer.state not in ("failed", "vacant")), default=-1)


def read_standing(folder: Path, now: datetime | None = None) -> RunStanding:
    """Return how the run in a folder stands.

    Args:
        folder: the run's folder.
        now: the time to measure its silence at, by default this moment.

    Raises:
        RecordsError: the folder is not that of a run.
    """
    now = now or datetime.now(UTC)
    summary = load_summary(folder, now)
    peers = {peer: Standing() for peer in range(summary.get("peers") or 0)}
    _take_events(peers, whole_lines(folder / EVENTS_FILE))
    _take_messages(peers, whole_lines(folder / MESSAGES_FILE))
    if summary["status"] != "running":
        for standing in peers.values():
            standing.stop()
    beat = datetime.fromisoformat(summary["heartbeat"])
    silent = (now - (beat if beat.tzinfo else beat.replace(tzinfo=UTC))).total_seconds()
    return RunStanding(folder.absolute().name, summary, dict(sorted(peers.items())), max(0.0, silent))


def _take_events(peers: dict[int, Standing], lines: Iterable[bytes]) -> None:
    for line in lines:
        try:
            stamped = Stamped.from_line(line)
        except EventError:
            continue  # the last one may be half there; `dimat-flwr report` counts them
        peers.setdefault(stamped.peer, Standing()).take(stamped.event, stamped)


def _take_messages(peers: dict[int, Standing], lines: Iterable[bytes]) -> None:
    for line in lines:
        try:
            _, _, source, reader, count = read_message(line)
        except ValueError:
            continue  # the names of the columns, or half a line
        peers.setdefault(source, Standing()).sent += count
        peers.setdefault(reader, Standing()).read += count
