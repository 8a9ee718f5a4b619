"""What Flower's processes under test have in common: ports, homes, how they are waited for and ended."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

BIN = Path(sys.executable).parent
_LOWEST_PORT = 10_000


class StoppedError(RuntimeError):
    """A part of the federation did not do what was waited for; the text has the end of its log."""


def processes_below(home: Path) -> list[int]:
    """Return everything that runs with a Flower home below a folder, from Linux's own list of processes."""
    mark, found = f"FLWR_HOME={home}/".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in path.read_bytes():
                state = (path.parent / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
                found += [int(path.parent.name)] if state not in "ZX" else []
    return found


def end(home: Path) -> None:
    """End what runs below a folder, also what has left its group, after a moment to end by itself; wait for it."""
    patience, deadline = time.monotonic() + 5, time.monotonic() + 120
    while (left := processes_below(home)) and time.monotonic() < deadline:
        for process in left if time.monotonic() > patience else ():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.2)


@contextmanager
def simulating_superlink(home: Path) -> Iterator[dict[str, str]]:
    """Run a SuperLink for simulations, on ports of its own; end it and all its children afterwards.

    Args:
        home: an empty folder, its FLWR_HOME.

    Yields:
        The environment in which ``flwr run`` finds it.
    """
    port, control = free_ports(2)
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(home),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": port,
        "FLWR_LOCAL_CONTROL_API_PORT": control,
        # What the app needs is installed here already; a network is not needed to test it.
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
    }
    command = [
        "flower-superlink", "--insecure", "--simulation", "--isolation", "subprocess",
        "--host", "127.0.0.1", "--port", port, "--control-api-address", f"127.0.0.1:{control}",
    ]  # fmt: skip
    with (home / "superlink.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for_health(f"http://127.0.0.1:{port}/health", process, home / "superlink.log")
        yield environment
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=300)


def free_ports(count: int) -> list[str]:
    """Return ports in a row that nobody has, of those which the system gives to nobody by itself.

    One that it gives out may be somebody's end of a connection before it is listened on.
    """
    draw = random.SystemRandom()
    while True:
        first = draw.randrange(_LOWEST_PORT, _first_given_out() - count)
        with ExitStack() as held, suppress(OSError):
            for port in range(first, first + count):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return [str(port) for port in range(first, first + count)]


def _first_given_out() -> int:
    """Return the first port that the system gives to who asks for any; where that are nearly all, the last."""
    told = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(told.read_text().split()[0]) if told.exists() else 32_768
    return first if first > 2 * _LOWEST_PORT else 65_535


def wait_for_health(url: str, process: subprocess.Popen[bytes], log: Path, verify: Any = True) -> None:
    """Wait until a SuperLink answers."""
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=10, verify=verify).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise StoppedError(f"the SuperLink did not start: {log.read_text(errors='replace')[-2000:]}")
