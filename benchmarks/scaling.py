"""How a run grows with its peers: seconds, bytes and memory of 10, 100 and 1,000 peers, round for round.

python benchmarks/scaling.py [--peers 10 --peers 100 --peers 1000] [--rounds 50] [--flwr] [--cluster ADDRESS]

Digits on a ring, one minibatch per exchange, a perceptron of 9,000 parameters without BatchNorm, since of a thousand
peers each has one or two samples. Every run has a process of its own. Without --flwr relay and peers are one process,
whose memory is read after every round. With --flwr the run goes through `flwr run` with two workers, in a home and with
a port of its own, and the memory of the relay (the simulation's process, with all messages and all peers' states) and
of the largest worker is read every few seconds from /proc, once the first round has ended. With --cluster these workers
are those of a Ray cluster that has been started before.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

SETTINGS = (
    "training.local_steps=1 training.pretrain_epochs=0 training.initialization=same evaluate.every=1000000 "
    "evaluate.save_models=false model=mlp model.in_features=64 model.batchnorm=false partition.min_samples=1"
)
LOOK_S = 2.0
MB = 1e6


def run_config(output: str, rounds: int) -> dict[str, str | int]:
    """Return the run's settings as Flower's run-config."""
    return {"algorithm": "weight_averaging", "rounds": rounds, "output-dir": output, "overrides": SETTINGS}


def resident(pid: int | str = "self") -> float:
    """Return the megabytes of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MB


def in_process(peers: int, rounds: int) -> dict[str, Any]:
    """Do a run in this process and return what was measured."""
    import logging

    import torch

    from dimat_flwr.conf_dir import find_conf_dir
    from dimat_flwr.launch import launch
    from dimat_flwr.local import LocalPost
    from dimat_flwr.relay import run_relay
    from dimat_flwr.wire import names

    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    answered, memory, ends, at_peers = 0, [], [], 0.0

    class Watched(LocalPost):
        def answer(self, peer: int, kind: str, content: Any) -> Any:
            nonlocal answered, at_peers
            began = time.process_time()
            reply = super().answer(peer, kind, content)
            if kind == names.EXCHANGE_MESSAGE:
                at_peers += time.process_time() - began
                answered += 1
                if answered % peers == 0:
                    memory.append(resident())
                    ends.append((time.monotonic(), time.process_time(), at_peers))
            return reply

    with tempfile.TemporaryDirectory() as output:
        config, conf_dir, began = run_config(output, rounds), find_conf_dir(), time.monotonic()
        post = Watched(peers, config, conf_dir)
        launch(config, conf_dir, "benchmarks/scaling.py", lambda *run: run_relay(post, *run))
        facts = record_of(output)
    # The start evaluates, and so does the last round: what lies between is alike.
    (wall, processor, own), (wall_end, processor_end, own_end) = ends[0], ends[-2]
    exchanges = peers * (len(ends) - 2)
    return facts | {
        "ready_s": ends[0][0] - began,
        "ms": 1e3 * (wall_end - wall) / exchanges,
        "relay_ms": 1e3 * (processor_end - processor - own_end + own) / exchanges,
        "memory": {"relay and peers": memory},
    }


def record_of(output: str) -> dict[str, Any]:
    """Return what a run left: its status, the bytes it relayed and the size of its record."""
    (folder,) = Path(output).iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    if summary["status"] != "completed":
        raise SystemExit(f"the run ended as {summary['status']}: {summary['reason']}")
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return {"record_mb": size / MB, "relayed_mb": summary["bytes_total"] / MB, "wall_s": summary["wall_seconds"]}


def processes_of(home: str) -> dict[int, str]:
    """Return pid -> command of all processes whose FLWR_HOME is this."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if f"FLWR_HOME={home}\0".encode() in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def kind_of(command: str) -> str | None:
    """Return what a process is to the run; None for those that neither relay nor train."""
    if command.startswith("ray::ClientAppActor"):
        return "largest worker"
    return "relay" if "flower-simulation" in command or "flwr-simulation" in command else None


def through_flwr(peers: int, rounds: int, cluster: str | None) -> dict[str, Any]:
    """Do a run through ``flwr run`` with two workers and return what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        home, output = f"{folder}/home", f"{folder}/runs"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = os.environ | {
            "FLWR_HOME": home,
            "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port),
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        }
        federation = f"num-supernodes={peers} client-resources-num-cpus=1"
        if cluster:
            environment["RAY_ADDRESS"] = cluster  # Ray looks there; the number of processors is the cluster's then
        else:
            federation += " init-args-num-cpus=2"
        settings = " ".join(f"{key}={value!r}" for key, value in run_config(output, rounds).items())
        command = ["flwr", "run", ".", "--stream", "--federation-config", federation, "-c", settings]
        started = time.monotonic()
        run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        memory: dict[str, list[float]] = {}
        done: list[tuple[float, int]] = []
        try:
            while run.poll() is None:
                time.sleep(LOOK_S)
                done.append((time.monotonic(), trained(output)))
                if done[-1][1] >= peers:  # the first round has ended
                    look(processes_of(home), memory)
            facts = record_of(output)
        finally:
            run.kill()
            for pid in processes_of(home):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    working = [(when, count) for when, count in done if count >= peers]
    began, first = working[0]
    ended, last = next(seen for seen in working if seen[1] == working[-1][1])  # the last round trains no more
    return facts | {"ready_s": began - started, "ms": 1e3 * (ended - began) / max(1, last - first), "memory": memory}


def look(processes: Mapping[int, str], memory: dict[str, list[float]]) -> None:
    """Note how much memory the relay holds, and the largest worker."""
    sizes: dict[str, list[float]] = {}
    for pid, command in processes.items():
        kind = kind_of(command)
        with suppress(OSError):
            if kind is not None:
                sizes.setdefault(kind, []).append(resident(pid))
    for kind, found in sizes.items():
        memory.setdefault(kind, []).append(max(found))


def trained(output: str) -> int:
    """Return how many exchanges have trained, by the record so far."""
    with suppress(OSError, ValueError):
        (folder,) = Path(output).iterdir()
        return (folder / "metrics.jsonl").read_bytes().count(b'"event":"training"')
    return 0


def growth(sizes: Sequence[float]) -> str:
    """Return memory at the beginning and after each quarter of the run."""
    return " ".join(f"{sizes[(len(sizes) - 1) * quarter // 4]:.0f}" for quarter in range(5)) + " MB"


def main(
    peers: Annotated[list[int] | None, typer.Option(help="How many; may be given several times.")] = None,
    rounds: Annotated[int, typer.Option(min=4)] = 50,
    flwr: Annotated[bool, typer.Option(help="Through `flwr run` with two workers.")] = False,
    cluster: Annotated[str | None, typer.Option(help="With --flwr: the address of a running Ray cluster.")] = None,
    single: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Measure and print."""
    sizes = peers or [10, 100, 1000]
    if single:
        print(json.dumps(through_flwr(sizes[0], rounds, cluster) if flwr else in_process(sizes[0], rounds)))
        return
    table = Table(
        "peers",
        "ms per exchange",
        "of it relay",
        "to the first round's end",
        "relayed",
        "record",
        "memory, from quarter to quarter",
    )
    console = Console(width=160)
    for count in sizes:
        command = [sys.executable, __file__, "--single", "--peers", str(count), "--rounds", str(rounds)]
        command += ["--flwr"] if flwr else []
        command += ["--cluster", cluster] if cluster else []
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
        memory = "\n".join(f"{kind}: {growth(history)}" for kind, history in found["memory"].items())
        relay, ready = (f"{found[key]:.2f}" if key in found else "" for key in ("relay_ms", "ready_s"))
        table.add_row(
            str(count), f"{found['ms']:.1f}", relay, f"{ready} s" if ready else "",
            f"{found['relayed_mb']:.0f} MB", f"{found['record_mb']:.1f} MB", memory,
        )  # fmt: skip
        console.print(f"{count} peers, {rounds} rounds: {found['wall_s']:.0f} s")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
