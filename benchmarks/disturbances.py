"""What goes wrong with real devices on loopback: each does one thing in the middle of a run of ``faults.py``.

Each takes the federation and the run, and returns what it did in a few words; ``StoppedError`` where it could not.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the federation is the tests'

from tests.e2e.federation import SUPERLINK, Federation, Submitted, name
from tests.e2e.processes import StoppedError, free_ports

VICTIM = 1
LEAVING, COMING = (1, 3), 4
_OUTAGES = 8


def nothing(parts: Federation, run: Submitted) -> str:
    """Do nothing."""
    return ""


def kill_while_training(parts: Federation, run: Submitted) -> str:
    """Kill the process of a message in the midst of its training.

    When that is, the round before tells: training takes most of the worker's processor time in this case (the record
    has it), and is the last long thing that is done before the model is saved. The device's worker trains, and ends at
    once when the process that Flower has started for the message does.
    """
    run.wait_for_event(event="training", peer=VICTIM, round=0)
    worker = _worker(parts, run)
    known = _processor_seconds(worker)
    run.wait_for_event(event="training", peer=VICTIM, round=1)
    usual, before, saved = _processor_seconds(worker) - known, parts.client_of(VICTIM), _saved(parts)
    process = run.wait(lambda: _at_work(parts, other_than=before), 300, "round 2")
    known = 0.6 * usual + _processor_seconds(worker)
    run.wait(lambda: _processor_seconds(worker) > known, 300, "the worker to train")
    os.kill(process, signal.SIGKILL)
    run.wait(lambda: not _processor_seconds(worker), 30, "the worker to end with the process")
    if _saved(parts) != saved:
        raise StoppedError("the worker had trained already when the process was killed")
    return f"client killed after {0.6 * usual:.1f} of some {usual:.1f} s of its worker, which ended, too"


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
    before, worker, saved = parts.client_of(VICTIM), _worker(parts, run), checkpoints(parts)
    process, known = run.wait(lambda: _at_work(parts, other_than=before), 300, "a message"), _processor_seconds(worker)
    run.wait(lambda: _processor_seconds(worker) > known + 0.1, 300, "the worker to work on it")
    return kill_before_it_answers(parts, run, process, saved)


def kill_before_it_answers(
    parts: Federation, run: Submitted, process: int, saved: set[tuple[str, int]], go: Callable[[], None] | None = None
) -> str:
    """Freeze the process of a message while the device's worker trains, and kill it when the checkpoint is written.

    So it cannot be faster with the answer.

    Args:
        parts: the federation.
        run: the run.
        process: of the message.
        saved: the checkpoints there were before, with the times of their last changes.
        go: lets the worker train.
    """
    os.kill(process, signal.SIGSTOP)
    if go is not None:
        go()
    written = run.wait(lambda: checkpoints(parts) - saved, 300, "its checkpoint")
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
    return f"ServerApp killed, {_go_on(parts, run)}"


def _go_on(parts: Federation, run: Submitted) -> str:
    """Go on with a run once it is over for Flower."""
    run.ended_as(120)
    run.number = parts.run(resume_from=str(run.folder)).number  # another one to Flower, with the same record
    run.wait(lambda: any(event["event"] == "resumed" for event in run.events()), 120, "the run to be gone on with")
    return "gone on with by resume-from"


def keep_superlink_away(parts: Federation, run: Submitted) -> str:
    """Leave the SuperLink dead for longer than Flower lets a run live without a sign of it; the run is gone on with."""
    run.wait_for_event(event="training", peer=VICTIM, round=1)
    parts.kill(SUPERLINK)
    time.sleep(90)
    parts.start_superlink()
    return f"SuperLink away for 90 s, {_go_on(parts, run)}"


def kill_in_handshake(parts: Federation, run: Submitted) -> str:
    """Kill the process with which a device answers whether it can take part."""
    process = run.wait(lambda: parts.client_of(VICTIM), 120, "the handshake")
    os.kill(process, signal.SIGKILL)
    if run.events():
        raise StoppedError("the handshake was over")
    return "client killed in the handshake"


def start_twin(parts: Federation, run: Submitted) -> str:
    """Start another SuperNode that claims a place whose peer is there, and kill a process of that peer's then."""
    run.wait_for_event(event="training", peer=VICTIM, round=1)
    parts.start_device(COMING, place=VICTIM)
    told = rf"node \d+ came during the run and waits to be let into place {VICTIM}"
    line = run.wait(lambda: re.search(told, run.log()), 120, "a line in the relay's log")
    trained = [event["round"] for event in run.events() if event["event"] == "training" and event["peer"] == VICTIM]
    killed = kill_while_sending(parts, run, max(trained))
    run.wait_for_event(event="returned", peer=VICTIM)  # asked again, as Flower told of the loss or as it took long
    run.finish()
    parts.kill(name(COMING), signal.SIGTERM)  # it says good-bye, and is nobody's rival in the next case
    return f"{line[0]}; {killed}"


def misspell(parts: Federation, run: Submitted) -> str:
    """Start the SuperNode that is waited for with a key of its configuration misspelt; then well, for another run."""
    parts.start_device(VICTIM, spelt={"partition-id": "partition_id"})
    run.finish()
    parts.kill(name(VICTIM), signal.SIGTERM)
    parts.start_device(VICTIM)
    again = parts.run(dataset="folder", partition="own", rounds=1, overrides=f"relay.peers={parts.devices}").finish()
    return f"{run.summary()['reason']}; spelt well: {again['status']}"


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
    for device in LEAVING:
        parts.kill(name(device))
    for device in LEAVING:
        run.wait_for_event(600, event="failure", peer=device)
    parts.start_device(COMING)
    joined = run.wait_for_event(600, event="joined", peer=COMING)
    return f"SuperNodes {LEAVING} killed and given up, {COMING} came in round {joined['round']}"


def _processor_seconds(process: int) -> float:
    """Return what a process has used so far; 0 if it is gone."""
    with suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return 0.0 if fields[0] in "ZX" else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def checkpoints(parts: Federation) -> set[tuple[str, int]]:
    """Return the victim's checkpoints, with the times of their last changes."""
    return _saved(parts, "checkpoint")


def _saved(parts: Federation, suffix: str = "safetensors") -> set[tuple[str, int]]:
    """Return the victim's files of a kind, with the time of their last change."""
    found = set()
    for path in parts.disk(VICTIM).rglob(f"[!.]*.{suffix}"):
        with suppress(OSError):
            found.add((path.name, path.stat().st_mtime_ns))
    return found
