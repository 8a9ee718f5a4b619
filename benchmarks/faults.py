"""Real devices on loopback: what goes wrong with them, one thing after the other, and that the run goes on.

python benchmarks/faults.py [--only training,worker,leavers] [--rounds 3] [--logs FOLDER]

A SuperLink and four SuperNodes, each with a folder of real digits of its own that no other knows. In the middle of a
run one of ``disturbances.py`` happens: something is killed with SIGKILL, frozen, filled up or started twice. A case is
good if the run completes, every peer has done all rounds but one at most, and what else the case claims holds; where
two are killed for good and another one comes, if the others do all rounds along a connected graph and the newcomer is
as good as they within three. Cases of one kind share a federation, with homes and ports of its own, that is ended
afterwards. Needs Linux, and root for the full disk.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere

from benchmarks import disturbances as d
from benchmarks.disturbances import COMING, LEAVING, VICTIM
from tests.e2e.federation import SUPERLINK, Federation, Submitted, name
from tests.e2e.processes import StoppedError
from tests.e2e.traces import Traces

_PLACES = 5
_MODEL = "training.pretrain_epochs=5 model.width=1"
Disturb = Callable[[Federation, Submitted], str]
Good = Callable[[dict[str, Any], list[dict[str, Any]], int], bool]


def went_on(summary: dict[str, Any], events: list[dict[str, Any]], rounds: int) -> bool:
    """Whether the run completed, and every peer has done all rounds but one at most."""
    done = [len(done_by(peer, events)) for peer in range(summary["peers"])]
    return summary["status"] == "completed" and min(done) >= rounds - 1


def missed_nothing(summary: dict[str, Any], events: list[dict[str, Any]], rounds: int) -> bool:
    """Whether the run completed, and every peer has done all rounds."""
    return went_on(summary, events, rounds + 1)


def refused(summary: dict[str, Any], events: list[dict[str, Any]], rounds: int) -> bool:
    """Whether nobody trained, and the reason names the key and what it should be."""
    told = summary["reason"]
    return summary["status"] == "failed" and not events and "partition_id" in told and "partition-id" in told


def done_by(peer: int, events: list[dict[str, Any]]) -> set[int]:
    """Return the rounds that a peer has merged in."""
    return {event["round"] for event in events if event["event"] == "merge" and event["peer"] == peer}


def changed_well(summary: dict[str, Any], events: list[dict[str, Any]], rounds: int) -> bool:
    """Whether the others did all rounds, connected, and the newcomer was as good as they in its third round at most."""
    staying = [place for place in range(_PLACES) if place not in LEAVING]
    merged = {(e["round"], e["peer"]): e["accuracy"] for e in events if e["event"] == "evaluation"
              and e["stage"] == "after_merge"}  # fmt: skip
    last = {e["peer"]: set(e["sources"]) for e in events if e["event"] == "merge" and e["round"] == rounds}
    begun = summary["joined"].get(str(COMING), rounds)
    third = {place: merged.get((begun + 2, place)) for place in staying}
    others = [third[place] for place in staying if place != COMING]
    return (
        summary["lost_peers"].keys() == {str(place) for place in LEAVING}
        and summary["parts"] is None
        and summary["final_peers"] == {"reported": len(staying), "of": _PLACES}
        and last == {place: set(staying) - {place} for place in staying}  # a ring of three
        and None not in third.values()
        and third[COMING] > sum(others) / len(others) - 3
    )


@dataclass(frozen=True)
class Case:
    """Something that goes wrong.

    Attributes:
        disturb: does it in the middle of a run, and returns what it did in a few words.
        federation: what kind of federation it needs.
        settings: overrides of the run.
        searched: look for models in all that the SuperLink kept; True if there must be some, False if none.
        warnings: whether the record must have warnings of the victim.
        rounds: how many, if not those that are asked for.
        good: whether it ended as it must, by summary, events and the number of rounds.
    """

    disturb: Disturb
    federation: dict[str, Any] = field(default_factory=dict)
    settings: str = ""
    searched: bool | None = None
    warnings: bool = False
    rounds: int = 0
    good: Good = went_on


_CHANGING: dict[str, Any] = {"devices": _PLACES, "absent": (COMING,)}
_GIVE_UP = (
    "relay.straggler_timeout=120 relay.give_up_timeout=125 relay.join_timeout=5 relay.min_peers=4 relay.join=any_time"
)
_PLAIN: dict[str, Any] = {"database": True, "small_disk": VICTIM if os.geteuid() == 0 else None}
_SEALED = {"tls": True, "sealed": True, "database": True}
_LONG = "training.local_epochs=100"
_APART: dict[str, Any] = {"database": True, "apart": True}
_DATABASE: dict[str, Any] = {"database": True}
CASES = {
    "nothing": Case(d.nothing, _PLAIN, searched=True),
    "training": Case(d.kill_while_training, _PLAIN, _LONG),
    "sending": Case(d.kill_while_sending, _PLAIN),
    "worker": Case(d.kill_worker, _PLAIN, _LONG),
    "worker_frozen": Case(d.freeze_worker, _PLAIN, _LONG),
    "supernode": Case(d.kill_supernode, _PLAIN),
    "frozen": Case(d.freeze, _PLAIN),
    "disk": Case(d.fill_disk, _PLAIN, warnings=True),
    "superlink": Case(d.kill_superlink, _APART),
    "superlink_often": Case(d.kill_superlink_often, _APART, rounds=12),
    "superlink_long": Case(d.keep_superlink_away, _APART),
    "handshake": Case(d.kill_in_handshake, _DATABASE),
    "serverapp": Case(d.kill_serverapp, _DATABASE),
    "misspelt": Case(d.misspell, {"absent": (VICTIM,)}, good=refused),
    "twin": Case(d.start_twin, _CHANGING, "relay.peers=4", rounds=8, good=missed_nothing),
    "leavers": Case(d.leave_and_come, _CHANGING, _GIVE_UP, rounds=14, good=changed_well),
    "tls": Case(d.stranger, {"tls": True}),
    "sealed": Case(d.nothing, _SEALED, "security.sign=true security.seal=true", searched=False),
}


def play(parts: Federation, case: Case, rounds: int) -> tuple[bool, str]:
    """Do one case; return whether it went as it must, and a line about it."""
    began, rounds = time.monotonic(), case.rounds or rounds
    overrides = f"{_MODEL} relay.peers={parts.devices} {case.settings}"
    run = parts.run(dataset="folder", partition="own", rounds=rounds, overrides=overrides)
    traces = Traces(parts) if case.searched is not None else None
    if traces:
        traces.follow()
    did = case.disturb(parts, run)
    summary, events = run.finish(), run.events()
    done = [len(done_by(peer, events)) for peer in range(parts.devices)]
    warnings = [e for e in events if e["event"] == "note" and e["name"] == "warning" and e["peer"] == VICTIM]
    good = case.good(summary, events, rounds) and bool(warnings) >= case.warnings
    told = [summary["status"], f"rounds {done}"]
    told += [f"{summary['final_accuracy']:.1f} %" if summary.get("final_accuracy") is not None else "no accuracy"]
    for kind in ("away", "returned", "late", "failure", "vacant", "redrawn", "joined", "resumed"):
        count = sum(event["event"] == kind for event in events)
        told += [f"{kind} {count}"] if count else []
    told += [f"warnings {len(warnings)} ({warnings[0]['values']['text'][:80]})"] if warnings else []
    told += [f"SuperLink out of reach for {summary['superlink_away_s']:.0f} s"] if "superlink_away_s" in summary else []
    deadline = time.monotonic() + 30
    while left := [device for device in range(parts.devices) if parts.worker_of(device) is not None]:
        if time.monotonic() > deadline:  # a worker ends with the run, without being told
            good, told = False, [*told, f"workers left at {left}"]
            break
        time.sleep(0.2)
    if traces:
        windows, places = traces.search()
        good = good and bool(places) == case.searched
        told += [f"{windows} windows of models searched, found in {places or 'nothing'}"]
    told += [f"{time.monotonic() - began:.0f} s", did]
    return good, "  ".join(word for word in told if word)


def main(only: str = ",".join(CASES), rounds: int = 3, logs: Path | None = None) -> None:
    """Go through the cases; exit code 1 if any did not end as it must."""
    console, faults = Console(soft_wrap=True, highlight=False), 0
    chosen = [(case, CASES[case]) for case in only.split(",")]
    for number, (kind, cases) in enumerate(groupby(chosen, key=lambda item: item[1].federation)):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
            own = logs.absolute() / str(number) if logs else None
            with Federation(Path(home) / "federation", **kind, logs=own) as parts:
                for case, what in cases:
                    if what.warnings and parts.small_disk is None:
                        console.print(f"{case:>13}  left out: a small disk needs root", markup=False)
                        continue
                    try:
                        good, line = play(parts, what, rounds)
                    except (StoppedError, OSError, subprocess.SubprocessError) as error:
                        good, line = False, f"{error}\n{parts.log(SUPERLINK)}\n{parts.log(name(VICTIM))}"
                    faults += not good
                    console.print(f"{case:>13}  {'good' if good else 'BAD'}  {line}", markup=False)
    sys.exit(int(faults > 0))


if __name__ == "__main__":
    typer.run(main)
