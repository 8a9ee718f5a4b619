"""Real devices on loopback: what goes wrong with them, one thing after the other, and that the run goes on.

python benchmarks/faults.py [--only training,worker,leavers] [--rounds 3] [--logs FOLDER]

A SuperLink and four SuperNodes, each with a folder of real digits of its own that no other knows. In the middle of a
run something is killed with SIGKILL, frozen, or filled up. A case is good if the run completes, every peer has done all
rounds but one at most, and what else the case claims holds; where two are killed for good and another one comes, if the
others do all rounds along a connected graph and the newcomer is as good as they within three. Cases of one kind share a
federation, with homes and ports of its own, that is ended afterwards. Needs Linux, and root for the full disk.
"""

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the federation is the tests'

from tests.e2e.federation import SUPERLINK, Federation, Submitted, name
from tests.e2e.processes import StoppedError, free_ports
from tests.e2e.traces import Traces

VICTIM = 1
_MODEL = "training.pretrain_epochs=5 model.width=1"
Disturb = Callable[[Federation, Submitted], str]


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
        changes: whether peers leave and come: what must hold then, see ``changed_well``.
    """

    disturb: Disturb
    federation: dict[str, Any] = field(default_factory=dict)
    settings: str = ""
    searched: bool | None = None
    warnings: bool = False
    rounds: int = 0
    changes: bool = False


def nothing(parts: Federation, run: Submitted) -> str:
    """Do nothing."""
    return ""


def kill_while_training(parts: Federation, run: Submitted) -> str:
    """Kill the process of a message in the midst of its training.

    When that is, the round before tells: training takes most of its processor time in this case (the record has it),
    and is the last long thing that is done before the model is saved. The device's worker trains, and ends at once when
    the process that Flower has started for the message does.
    """
    run.wait_for_event(event="training", peer=VICTIM, round=0)
    start, worker, usual = parts.client_of(VICTIM), _worker(parts, run), 0.0
    before = run.wait(lambda: _at_work(parts, other_than=start), 300, "round 1")
    known = _processor_seconds(worker)
    while used := _processor_seconds(before):
        usual = used + _processor_seconds(worker) - known
        time.sleep(0.05)
    process, saved = run.wait(lambda: _at_work(parts, other_than=before), 300, "round 2"), _saved(parts)
    known = 0.75 * usual + _processor_seconds(worker)
    run.wait(lambda: _processor_seconds(process) + _processor_seconds(worker) > known, 300, "the worker to train")
    os.kill(process, signal.SIGKILL)
    run.wait(lambda: not _processor_seconds(worker), 30, "the worker to end with the process")
    if _saved(parts) != saved:
        raise StoppedError("the worker had trained already when the process was killed")
    return f"client killed after {0.75 * usual:.1f} of some {usual:.1f} s of processor time, and its worker ended"


def _worker(parts: Federation, run: Submitted) -> int:
    return int(run.wait(lambda: parts.worker_of(VICTIM), 30, "the device's worker"))


def kill_worker(parts: Federation, run: Submitted) -> str:
    """Kill the worker in the midst of a message: another one does it anew, and nobody else hears of it."""
    return f"worker {_disturb_worker(parts, run, signal.SIGKILL)} killed"


def freeze_worker(parts: Federation, run: Submitted) -> str:
    """Freeze the worker in the midst of a message: it is killed after a minute, and another one does it anew."""
    worker = _disturb_worker(parts, run, signal.SIGSTOP)
    run.wait(lambda: not _processor_seconds(worker), 120, "the frozen worker to be killed")
    return f"worker {worker} frozen"


def _disturb_worker(parts: Federation, run: Submitted, how: signal.Signals) -> int:
    run.wait_for_event(event="training", peer=VICTIM, round=1)
    worker = _worker(parts, run)
    known = _processor_seconds(worker)
    run.wait(lambda: _processor_seconds(worker) > known + 0.3, 300, "the worker to work on round 2")
    os.kill(worker, how)
    return worker


def _at_work(parts: Federation, other_than: int | None) -> int | None:
    process = parts.client_of(VICTIM)
    return None if process == other_than else process


def kill_while_sending(parts: Federation, run: Submitted, after: int = 1) -> str:
    """Kill the process of a message, ``after`` a round, when its checkpoint is written and its answer not yet there."""
    run.wait_for_event(event="training", peer=VICTIM, round=after)
    known, process, looked = _saved(parts, "checkpoint"), None, 0.0
    while not (written := _saved(parts, "checkpoint") - known):
        if time.monotonic() - looked > 0.5:
            process, looked = parts.client_of(VICTIM), time.monotonic()
        time.sleep(0.002)
    if process is None:
        raise StoppedError("nobody was seen writing the checkpoint")
    os.kill(process, signal.SIGKILL)
    return f"client killed after {max(written)[0]}"


def kill_supernode(parts: Federation, run: Submitted) -> str:
    """Kill a SuperNode with all its processes, and start it anew as its unit does."""
    run.wait_for_event(event="training", peer=VICTIM, round=1)
    parts.kill(name(VICTIM))
    began = time.monotonic()
    time.sleep(5)
    parts.start_device(VICTIM, until_accepted=120)
    return f"SuperNode killed, accepted again before {time.monotonic() - began:.0f} s"


def kill_superlink(parts: Federation, run: Submitted) -> str:
    """Kill the SuperLink, and start it anew with its database as its unit does; the ServerApp is not its child."""
    run.wait_for_event(event="training", peer=VICTIM, round=1)
    parts.kill(SUPERLINK)
    time.sleep(5)
    parts.start_superlink()
    return "SuperLink killed and started anew"


def kill_superlink_often(parts: Federation, run: Submitted) -> str:
    """Kill the SuperLink, or ask it to end, at moments that nobody chose with messages on their way; start it anew."""
    chance, signals = random.Random(0), []
    run.wait_for_event(event="training", peer=VICTIM, round=1)
    while len(signals) < _OUTAGES and run.summary().get("status") == "running":
        time.sleep(chance.uniform(0.0, 10.0))
        signals.append(chance.choice([signal.SIGKILL, signal.SIGTERM]))
        parts.kill(SUPERLINK, signals[-1])
        parts.start_superlink()
    told = ", ".join(signal.strsignal(number) or "" for number in signals)
    return f"SuperLink ended ({told}) and started anew {len(signals)} times"


def kill_serverapp(parts: Federation, run: Submitted) -> str:
    """Kill the process that relays; the run is gone on with by another one, into the same record."""
    run.wait_for_event(event="training", peer=VICTIM, round=1)
    os.kill(run.wait(parts.serverapp, 30, "the process of the ServerApp"), signal.SIGKILL)
    run.wait(lambda: run.status().startswith("finished"), 120, "the end of the run")
    folder = run.folder
    parts.run(resume_from=str(folder))
    run.wait(lambda: any(event["event"] == "resumed" for event in run.events()), 120, "the run to be gone on with")
    return "ServerApp killed, gone on with by resume-from"


def freeze(parts: Federation, run: Submitted) -> str:
    """Freeze a SuperNode with all its processes for longer than the SuperLink takes it for connected."""
    run.wait_for_event(event="training", peer=VICTIM, round=1)
    parts.kill(name(VICTIM), signal.SIGSTOP)
    time.sleep(100)
    parts.kill(name(VICTIM), signal.SIGCONT)
    return "SuperNode frozen for 100 s"


def fill_disk(parts: Federation, run: Submitted) -> str:
    """Leave no room where a device keeps checkpoints and models."""
    run.wait_for_event(event="training", peer=VICTIM, round=1)
    ballast = parts.disk(VICTIM) / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\1" * 4096)
    run.finish()
    size = ballast.stat().st_size
    ballast.unlink()
    return f"disk filled with {size / 1e6:.1f} MB"


def stranger(parts: Federation, run: Submitted) -> str:
    """Start a SuperNode whose key nobody registered, and then kill and start one whose key is."""
    keys = parts.home / "stranger" / "keys"
    parts.credentials("device", keys)
    log = keys / "log"
    with log.open("wb") as file:  # a file, not a pipe: what the SuperNode has started outlives it by a moment
        refused = subprocess.run(
            parts.supernode_command(keys, *free_ports(1)), env=parts.environment("stranger"),
            stdout=file, stderr=file, timeout=120, check=False,
        )  # fmt: skip
    said = re.findall(r"Exit Code: \d+|\[code: \d+\][^\n]*", log.read_text(errors="replace"))
    if refused.returncode == 0 or len(said) < 2:
        raise StoppedError(f"a SuperNode with an unknown key was not refused:\n{log.read_text(errors='replace')}")
    return f"unknown key refused: {' '.join(said)}; {kill_supernode(parts, run)}"


def leave_and_come(parts: Federation, run: Submitted) -> str:
    """Kill two SuperNodes for good, and start one that was not there: it claims a place that was vacant so far."""
    run.wait_for_event(event="training", peer=VICTIM, round=1)
    for device in _LEAVING:
        parts.kill(name(device))
    for device in _LEAVING:
        run.wait_for_event(600, event="failure", peer=device)
    parts.start_device(_COMING)
    joined = run.wait_for_event(600, event="joined", peer=_COMING)
    return f"SuperNodes {_LEAVING} killed and given up, {_COMING} came in round {joined['round']}"


def changed_well(summary: dict[str, Any], events: list[dict[str, Any]], rounds: int) -> bool:
    """Whether the others did all rounds, connected, and the newcomer was as good as they in its third round at most."""
    staying = [place for place in range(_PLACES) if place not in _LEAVING]
    merged = {(e["round"], e["peer"]): e["accuracy"] for e in events if e["event"] == "evaluation"
              and e["stage"] == "after_merge"}  # fmt: skip
    last = {e["peer"]: set(e["sources"]) for e in events if e["event"] == "merge" and e["round"] == rounds}
    begun = summary["joined"].get(str(_COMING), rounds)
    third = {place: merged.get((begun + 2, place)) for place in staying}
    others = [third[place] for place in staying if place != _COMING]
    return (
        summary["lost_peers"].keys() == {str(place) for place in _LEAVING}
        and summary["parts"] is None
        and summary["final_peers"] == {"reported": len(staying), "of": _PLACES}
        and last == {place: set(staying) - {place} for place in staying}  # a ring of three
        and None not in third.values()
        and third[_COMING] > sum(others) / len(others) - 3
    )


_PLACES, _LEAVING, _COMING = 5, (1, 3), 4
_CHANGING: dict[str, Any] = {"devices": _PLACES, "absent": (_COMING,)}
_GIVE_UP = (
    "relay.straggler_timeout=120 relay.give_up_timeout=125 relay.join_timeout=5 relay.min_peers=4 relay.join=any_time"
)
_PLAIN: dict[str, Any] = {"database": True, "small_disk": VICTIM if os.geteuid() == 0 else None}
_SEALED = {"tls": True, "sealed": True, "database": True}
_LONG = "training.local_epochs=100"
_APART: dict[str, Any] = {"database": True, "apart": True}
_OUTAGES = 8
CASES = {
    "nothing": Case(nothing, _PLAIN, searched=True),
    "training": Case(kill_while_training, _PLAIN, _LONG),
    "sending": Case(kill_while_sending, _PLAIN),
    "worker": Case(kill_worker, _PLAIN, _LONG),
    "worker_frozen": Case(freeze_worker, _PLAIN, _LONG),
    "supernode": Case(kill_supernode, _PLAIN),
    "frozen": Case(freeze, _PLAIN),
    "disk": Case(fill_disk, _PLAIN, warnings=True),
    "superlink": Case(kill_superlink, _APART),
    "superlink_often": Case(kill_superlink_often, _APART, rounds=12),
    "serverapp": Case(kill_serverapp, {"database": True}),
    "leavers": Case(leave_and_come, _CHANGING, _GIVE_UP, rounds=14, changes=True),
    "tls": Case(stranger, {"tls": True}),
    "sealed": Case(nothing, _SEALED, "security.sign=true security.seal=true", searched=False),
}


def _processor_seconds(process: int) -> float:
    """Return what a process has used so far; 0 if it is gone."""
    with suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return 0.0 if fields[0] in "ZX" else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _saved(parts: Federation, suffix: str = "safetensors") -> set[tuple[str, int]]:
    """Return the victim's files of a kind, with the time of their last change."""
    found = set()
    for path in parts.disk(VICTIM).rglob(f"[!.]*.{suffix}"):
        with suppress(OSError):
            found.add((path.name, path.stat().st_mtime_ns))
    return found


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
    done = [len({e["round"] for e in events if e["event"] == "merge" and e["peer"] == p}) for p in range(parts.devices)]
    warnings = [e for e in events if e["event"] == "note" and e["name"] == "warning" and e["peer"] == VICTIM]
    if case.changes:
        good = changed_well(summary, events, rounds)
    else:
        good = summary["status"] == "completed" and min(done) >= rounds - 1 and bool(warnings) >= case.warnings
    told = [summary["status"], f"rounds {done}"]
    told += [f"{summary['final_accuracy']:.1f} %" if summary["final_accuracy"] is not None else "no accuracy"]
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
