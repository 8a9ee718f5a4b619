"""What one message costs a device: processor time and memory of the process that Flower starts for it.

python benchmarks/device_cost.py [--rounds 5] [--devices 2]

Real SuperNodes on loopback, digits, DIMAT. Each process of a device is looked at every 20 ms until it ends; from its
processor time the seconds of training and of merging are taken, which the run's record has.
"""

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import typer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the federation is the tests'

from tests.e2e.federation import Federation, Submitted

_TICKS = os.sysconf("SC_CLK_TCK")


class Watch:
    """The processes in which devices worked on messages: process -> seconds of processor time, most memory in MB."""

    def __init__(self, parts: Federation) -> None:
        """Watch from now on, until ``stop``."""
        self._parts, self._ended = parts, threading.Event()
        self.seen: list[dict[int, tuple[float, float]]] = [{} for _ in range(parts.devices)]
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
                for device in range(self._parts.devices):
                    process = self._parts.client_of(device)
                    working |= {process: device} if process else {}
            for process, device in list(working.items()):
                try:
                    self.seen[device][process] = _used(process)
                except (OSError, StopIteration):
                    del working[process]
            time.sleep(0.02)


def _used(process: int) -> tuple[float, float]:
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


def main(rounds: int = 5, devices: int = 2, logs: Path | None = None) -> None:
    """Print a line per message and the medians over all exchanges after the start."""
    costs, peaks = [], []
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home,
        Federation(Path(home) / "federation", devices=devices, logs=logs and logs.absolute()) as parts,
    ):
        watch = Watch(parts)
        overrides = f"relay.peers={devices} training.pretrain_epochs=5"
        run = parts.run(dataset="folder", partition="own", rounds=rounds, overrides=overrides)
        run.finish()
        time.sleep(3)  # the last process ends after its answer
        watch.stop()
        print("device  message   processor s  training s  merging s  beyond both s  most memory MB")
        for device in range(devices):
            handshake, *exchanges = watch.seen[device].values()
            print(f"{device:>6}  {'setup':>7}  {handshake[0]:>12.2f} {'':>34}{handshake[1]:>17.0f}")
            for number, ((used, peak), (trained, merged)) in enumerate(zip(exchanges, told(run, device), strict=True)):
                beyond = used - trained - merged
                figures = f"{used:>12.2f}  {trained:>10.2f}  {merged:>9.2f}  {beyond:>13.2f}  {peak:>14.0f}"
                print(f"{device:>6}  {number:>7}  {figures}")
                if number:
                    costs.append((used - trained, beyond))
                    peaks.append(peak)
    beyond_training, beyond_both = (statistics.median(cost[k] for cost in costs) for k in range(2))
    print(
        f"median over {len(costs)} exchanges: {beyond_training:.2f} s beyond training, {beyond_both:.2f} s beyond "
        f"training and merging, {statistics.median(peaks):.0f} MB at most"
    )


if __name__ == "__main__":
    typer.run(main)
