"""What a message costs a device: processor time and memory, with a worker that lives on and without one.

python benchmarks/device_cost.py [--rounds 5] [--devices 2] [--without]

Real SuperNodes on loopback, digits, DIMAT. The process that Flower starts for a message and the device's worker are
looked at every 20 ms; what a worker uses from one message's process to the next counts for the former. From the sum
the seconds of training and of merging are taken, which the run's record has: seconds of a clock, so on a busy machine
too much is taken, and only what all of a message costs is sure.
"""

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import typer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the federation is the tests'

from tests.e2e.federation import Federation, Submitted, name

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Message:
    """What was seen of one message.

    Attributes:
        before: what the device's workers had used when its process was first seen, in seconds of processor time.
        process: what its process used.
        process_mb: most memory of the process.
        worker_mb: most memory of a worker until then; 0 without one.
    """

    before: float
    process: float = 0.0
    process_mb: float = 0.0
    worker_mb: float = 0.0


@dataclass
class Device:
    """What was seen of a device: its messages, and what each of its workers has used so far."""

    messages: dict[int, Message] = field(default_factory=dict)
    workers: dict[int, float] = field(default_factory=dict)

    def costs(self) -> list[tuple[Message, float]]:
        """Return each message, and what the device's workers used for it."""
        marks = [*(message.before for message in self.messages.values()), sum(self.workers.values())]
        used = (end - start for start, end in pairwise(marks))
        return list(zip(self.messages.values(), used, strict=True))


class Watch:
    """The processes in which devices work on messages."""

    def __init__(self, parts: Federation) -> None:
        """Watch from now on, until ``stop``."""
        self._parts, self._ended = parts, threading.Event()
        self.seen = [Device() for _ in range(parts.devices)]
        self.supernode_mb = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        looked, working = 0.0, dict[int, int]()
        while not self._ended.is_set():
            if time.monotonic() - looked > 0.3:  # finding them costs more than looking at them
                looked = time.monotonic()
                for number, device in enumerate(self.seen):
                    self._find(number, device, working)
            for process, number in list(working.items()):
                try:
                    self._look(process, self.seen[number])
                except (OSError, StopIteration):
                    del working[process]
            time.sleep(0.02)

    def _find(self, number: int, device: Device, working: dict[int, int]) -> None:
        worker, process = self._parts.worker_of(number), self._parts.client_of(number)
        if worker is not None and worker not in device.workers:
            device.workers[worker] = 0.0
        if process is not None and process not in device.messages:
            device.messages[process] = Message(sum(device.workers.values()))
        working |= {found: number for found in (worker, process) if found is not None}
        standing = (self._parts.running[name(number)].pid, self._parts.superexec_of(number))
        self.supernode_mb = max(self.supernode_mb, sum(_used(found)[1] for found in standing if found))

    def _look(self, process: int, device: Device) -> None:
        used, peak = _used(process)
        if process in device.workers:
            device.workers[process] = used
            for message in list(device.messages.values())[-1:]:
                message.worker_mb = peak
        else:
            message = device.messages[process]
            message.process, message.process_mb = used, peak


def _used(process: int) -> tuple[float, float]:
    """Return a process' seconds of processor time and its most memory in MB."""
    folder = Path(f"/proc/{process}")
    fields = (folder / "stat").read_text().rpartition(")")[2].split()  # of one that has ended, not yet buried, too
    peak = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM"))
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(peak.split()[1]) / 1000


def told(run: Submitted, device: int) -> Iterator[tuple[float, float]]:
    """Yield seconds of training and of merging for every exchange of a device, in order."""
    events = [event for event in run.events() if event["peer"] == device]
    for number in sorted({event["round"] for event in events}):
        own = [event for event in events if event["round"] == number]
        yield tuple(  # type: ignore[misc]
            sum(event["seconds"] for event in own if event["event"] == kind) for kind in ("training", "merge")
        )


def main(rounds: int = 5, devices: int = 2, logs: Path | None = None, without: bool = False) -> None:
    """Print a line per message and the medians over all exchanges after the start."""
    costs = []
    settings = {"worker-idle": 0} if without else {}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home,
        Federation(
            Path(home) / "federation", devices=devices, logs=logs and logs.absolute(), node_config=settings
        ) as parts,
    ):
        watch = Watch(parts)
        overrides = f"relay.peers={devices} training.pretrain_epochs=5"
        run = parts.run(dataset="folder", partition="own", rounds=rounds, overrides=overrides)
        run.finish()
        time.sleep(3)  # the last process ends after its answer
        watch.stop()
        print("device  message  process s  worker s  training s  merging s  beyond both s  process MB  worker MB")
        for device in range(devices):
            times = [(0.0, 0.0), *told(run, device)]
            for number, ((message, worker), (trained, merged)) in enumerate(
                zip(watch.seen[device].costs(), times, strict=True)
            ):
                beyond = message.process + worker - trained - merged
                figures = (message.process, worker, trained, merged, beyond)
                columns = [f"{value:>{width}.2f}" for value, width in zip(figures, (9, 8, 10, 9, 13), strict=True)]
                columns += [f"{message.process_mb:>10.0f}", f"{message.worker_mb:>9.0f}"]
                print(f"{device:>6}", f"{number - 1 if number else 'setup':>7}", *columns, sep="  ")
                if number > 1:
                    used = message.process + worker
                    costs.append((used, used - trained, beyond, message.process_mb, message.worker_mb))
    over = [statistics.median(cost[k] for cost in costs) for k in range(5)]
    print(
        f"median over {len(costs)} exchanges after the start: {over[0]:.2f} s in all, {over[1]:.2f} s beyond "
        f"training, {over[2]:.2f} s beyond training and merging; {over[3]:.0f} MB in the process, {over[4]:.0f} MB in "
        f"the worker, {watch.supernode_mb:.0f} MB in the SuperNode's two"
    )


if __name__ == "__main__":
    typer.run(main)
