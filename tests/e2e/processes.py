"""What Flower's processes under test have in common: ports, homes, how they are waited for and ended."""

import os
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
    """End what runs below a folder, also what has left its group, after a moment to end by itself."""
    deadline = time.monotonic() + 5
    while (left := processes_below(home)) and time.monotonic() < deadline:
        time.sleep(0.2)
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


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
        process.wait(timeout=30)


def free_ports(count: int) -> list[str]:
    """Return ports that nobody listens on, no two alike: one that is let go may be given again at once."""
    with ExitStack() as held:
        found = [held.enter_context(socket.socket()) for _ in range(count)]
        for free in found:
            free.bind(("127.0.0.1", 0))
        return [str(free.getsockname()[1]) for free in found]


def wait_for_health(url: str, process: subprocess.Popen[bytes], log: Path, verify: Any = True) -> None:
    """Wait until a SuperLink answers."""
    for _ in range(120):
        if process.poll() is not None:
            break
        try:
            if httpx.get(url, timeout=2, verify=verify).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise StoppedError(f"the SuperLink did not start: {log.read_text(errors='replace')[-2000:]}")
