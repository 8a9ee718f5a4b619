"""A SuperLink and SuperNodes on loopback, each with a home, data and keys of its own, as on machines of their own."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from dimat_flwr.data.digits import Digits
from tests.e2e.processes import BIN, StoppedError, end, free_ports, processes_below, wait_for_health

ROOT = Path(__file__).resolve().parents[2]
SUPERLINK, NAME = "superlink", "loopback"
HEARTBEATS_S = 60  # for so long after a SuperNode's last sign of life the SuperLink holds it for connected
_BETWEEN_STARTS_S = 5  # a unit's RestartSec: see deploy/flower-supernode.service


@dataclass
class Federation:
    """A SuperLink and its SuperNodes: every one a group of processes with a folder of its own below ``home``.

    Attributes:
        home: an empty folder.
        devices: how many there are data, keys and places for.
        tls: TLS and registered SuperNode keys.
        sealed: every peer has an identity and knows the others'.
        database: the SuperLink keeps its state in a file.
        apart: the ServerApp is no child of the SuperLink, and outlives it.
        small_disk: the device whose results and checkpoints lie on a disk of a few MB; needs root.
        absent: devices that are not started at first.
        logs: where what they say goes.
        node_config: what every device's ``--node-config`` has besides its place, keys and folders.
    """

    home: Path
    devices: int = 4
    tls: bool = False
    sealed: bool = False
    database: bool = False
    apart: bool = False
    small_disk: int | None = None
    absent: tuple[int, ...] = ()
    logs: Path | None = None
    node_config: Mapping[str, int] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> "Federation":
        """Start everything."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.logs = self.logs or self.home / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.results = self.home / SUPERLINK / "results"
        self.port, *self._ports = free_ports(1 + self.devices)
        try:
            self._set_up()
            self.start_superlink()
            if self.apart:
                address = f"127.0.0.1:{self.port}"
                self._start("superexec", ["flower-superexec", "--insecure", "--runtime-api-address", address])
            if self.tls:
                for device in range(self.devices):
                    self.flwr("supernode", "register", str(self.of(device) / "keys" / "supernode.pub"), NAME)
            for device in set(range(self.devices)) - set(self.absent):
                self.start_device(device)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End everything: whatever has one of the homes here, also what has left its group."""
        for what, process in self.running.items():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
                os.killpg(process.pid, signal.SIGTERM if what == SUPERLINK else signal.SIGKILL)
        end(self.home)
        for started in self.running.values():
            started.wait(timeout=120)
        if self.small_disk is not None and self.disk(self.small_disk).is_mount():
            subprocess.run(["umount", str(self.disk(self.small_disk))], check=True)

    def of(self, device: int) -> Path:
        """Return a device's folder."""
        return self.home / name(device)

    def disk(self, device: int) -> Path:
        """Return the folder below which a device writes."""
        return self.of(device) / "disk"

    def start_superlink(self) -> None:
        """Start the SuperLink and wait until it answers."""
        own = self.home / SUPERLINK
        command = ["flower-superlink", "--host", "127.0.0.1", "--port", str(self.port)]
        if self.tls:
            keys = own / "keys"
            command += ["--ssl-ca-certfile", str(keys / "ca.crt"), "--ssl-certfile", str(keys / "superlink.crt")]
            command += ["--ssl-keyfile", str(keys / "superlink.key"), "--enable-supernode-auth"]
        else:
            command += ["--insecure"]
        command += ["--isolation", "process"] if self.apart else []
        if self.database:
            command += ["--database", str(own / "state.db")]
        process = self._start(SUPERLINK, command)
        verify: Any = str(own / "keys" / "ca.crt") if self.tls else True
        wait_for_health(f"http{'s' * self.tls}://127.0.0.1:{self.port}/health", process, self._log(SUPERLINK), verify)

    def start_device(
        self,
        device: int,
        *,
        until_accepted: float = 0.0,
        place: int | None = None,
        spelt: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Start a SuperNode; for so many seconds again and again, as its unit does, while the SuperLink refuses it.

        Args:
            device: whose folder and keys it has.
            until_accepted: see above.
            place: that it claims; None: the device's own.
            spelt: keys of its configuration -> how they are written.
        """
        own = self.of(device)
        settings: dict[str, Any] = {"partition-id": device if place is None else place}
        folders = {"data-dir": own / "data", "output-dir": own / "disk" / "out", "state-dir": own / "disk" / "state"}
        if self.sealed:
            folders |= {"key-file": own / "keys" / "peer.key", "known-peers": own / "known_peers"}
            settings["seal"] = "true"
        settings |= {**{key: f"'{path}'" for key, path in folders.items()}, **self.node_config}
        words = [f"{spelt.get(key, key)}={value}" for key, value in settings.items()]
        command = [*self.supernode_command(own / "keys", self._ports[device]), "--node-config", " ".join(words)]
        deadline = time.monotonic() + until_accepted
        while True:
            process = self._start(name(device), command)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20 if until_accepted else 0.1)
            if process.poll() is None:
                return
            if time.monotonic() > deadline:
                raise StoppedError(f"{name(device)} ended with exit code {process.poll()}:\n{self.log(name(device))}")
            time.sleep(_BETWEEN_STARTS_S)

    def supernode_command(self, keys: Path, port: str) -> list[str]:
        """Return what starts a SuperNode, as far as they all have it alike; with TLS, with the key in a folder."""
        command = ["flower-supernode", "--superlink", f"127.0.0.1:{self.port}", "--port", port]
        if not self.tls:
            return [*command, "--insecure"]
        authority = str(self.home / SUPERLINK / "keys" / "ca.crt")
        return [*command, "--root-certificates", authority, "--auth-supernode-private-key", str(keys / "supernode")]

    def credentials(self, *words: object) -> None:
        """Make keys as the documentation does."""
        subprocess.run(
            [str(ROOT / "deploy" / "credentials.sh"), *map(str, words)],
            env=self.environment("user"), check=True, capture_output=True, text=True,
        )  # fmt: skip

    def environment(self, what: str) -> dict[str, str]:
        """Return the environment of a part, with a Flower home of its own."""
        return {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "FLWR_HOME": f"{self.home}/{what}/flwr",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            "OMP_NUM_THREADS": "1",
        }

    def kill(self, what: str, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to all processes of a part."""
        os.killpg(self.running[what].pid, how)
        if how in (signal.SIGKILL, signal.SIGTERM):
            self.running.pop(what).wait()

    def flwr(self, *words: str) -> str:
        """Return what Flower's command says."""
        done = subprocess.run(
            ["flwr", *words], env=self.environment("user"), cwd=ROOT, capture_output=True, text=True, timeout=600
        )
        if done.returncode:
            raise StoppedError(f"flwr {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def run(self, **run_config: Any) -> "Submitted":
        """Start a run and return it; it goes on by itself."""
        before = set(self.results.glob("*"))
        settings = {"output-dir": str(self.results), **run_config}
        quoted = " ".join(f"{key.replace('_', '-')}={json.dumps(value)}" for key, value in settings.items())
        said = self.flwr("run", str(ROOT), NAME, "-c", quoted)
        found = re.search(r"started run (\d+)", said)
        if not found:
            raise StoppedError(f"no run was started:\n{said}")
        return Submitted(self, found[1], before)

    def processes(self) -> list[int]:
        """Return everything that runs with one of the homes here."""
        return processes_below(self.home)

    def client_of(self, device: int) -> int | None:
        """Return the process in which a device works on a message now; the last begun, as one may be ending yet."""
        return self._process("flwr-clientapp", self.of(device))

    def worker_of(self, device: int) -> int | None:
        """Return the process that lives on from message to message at a device, if there is one now."""
        return self._process("apps.worker", self.of(device))

    def superexec_of(self, device: int) -> int | None:
        """Return the process that starts a device's processes."""
        return self._process("flower-superexec", self.of(device))

    def serverapp(self) -> int | None:
        """Return the process in which a run is relayed now."""
        return self._process("flwr-serverapp", self.home / SUPERLINK)

    def _process(self, command: str, home: Path) -> int | None:
        mark, found = f"FLWR_HOME={home}/".encode(), {}
        for process in self.processes():
            with suppress(OSError):
                folder = Path(f"/proc/{process}")
                if command.encode() in (folder / "cmdline").read_bytes() and mark in (folder / "environ").read_bytes():
                    began = int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[19])
                    found[process] = began
        return max(found, key=lambda process: (found[process], process), default=None)

    def log(self, what: str) -> str:
        """Return the end of what a part has said."""
        return self._log(what).read_text(errors="replace")[-3000:]

    def _log(self, what: str) -> Path:
        assert self.logs is not None
        return self.logs / f"{what}.log"

    def _start(self, what: str, command: list[str]) -> subprocess.Popen[bytes]:
        with self._log(what).open("ab") as log:
            where = {"env": self.environment(what), "cwd": self.home / what}
            process = subprocess.Popen(command, **where, stdout=log, stderr=log, start_new_session=True)
        self.running[what] = process
        return process

    def _set_up(self) -> None:
        """Write everybody's folders, keys, and Flower's own configuration of whoever starts runs."""
        for what in (SUPERLINK, "superexec", "user", *map(name, range(self.devices))):
            (self.home / what / "flwr").mkdir(parents=True)
        lines = ["[superlink]", f'default = "{NAME}"', f"[superlink.{NAME}]", f'address = "127.0.0.1:{self.port}"']
        if self.tls:
            self.credentials("superlink", self.home / SUPERLINK / "keys", "127.0.0.1")
            lines += [f'root-certificates = "{self.home / SUPERLINK / "keys" / "ca.crt"}"']
        else:
            lines += ["insecure = true"]
        (self.home / "user" / "flwr" / "config.toml").write_text("\n".join(lines) + "\n")
        for device in range(self.devices):
            self._write_digits(device)
            self.disk(device).mkdir()
            if self.tls or self.sealed:
                self.credentials("device", self.of(device) / "keys")
        if self.small_disk is not None:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(self.disk(self.small_disk))], check=True
            )
        if self.sealed:
            known = [f"{i} {(self.of(i) / 'keys' / 'peer.pub').read_text().strip()}\n" for i in range(self.devices)]
            for device in range(self.devices):
                (self.of(device) / "known_peers").write_text("".join(known))

    def _write_digits(self, device: int) -> None:
        digits = Digits().load()
        for number in range(device, len(digits.train_labels), self.devices):
            folder = self.of(device) / "data" / str(int(digits.train_labels[number]))
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(digits.train_inputs[number, 0])).save(folder / f"{number}.png")


@dataclass
class Submitted:
    """A run that was started."""

    federation: Federation
    number: str
    before: set[Path]

    @property
    def folder(self) -> Path | None:
        """Where its record is, once there is one; those of later runs sort after it, as names begin with the time."""
        return min(set(self.federation.results.glob("*")) - self.before, default=None)

    def events(self) -> list[dict[str, Any]]:
        """Return the record so far; half a last line is left out."""
        path = self.folder / "metrics.jsonl" if self.folder else None
        lines = path.read_text().splitlines(keepends=True) if path and path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def summary(self) -> dict[str, Any]:
        """Return the record's summary so far; empty before there is one."""
        path = self.folder / "summary.json" if self.folder else None
        return json.loads(path.read_text()) if path and path.exists() else {}

    def status(self) -> str:
        """Return Flower's own word for how it stands."""
        said = self.federation.flwr("ls", NAME, "--run-id", self.number, "--format", "json")
        return str(json.loads(said)["runs"][0]["status"])

    def log(self) -> str:
        """Return what the relay has said so far."""
        return self.federation.flwr("log", self.number, NAME, "--show")

    def wait(self, until: Callable[[], object], seconds: float, what: str) -> Any:
        """Wait for something and return it; raises ``StoppedError`` where it does not come, or the run ends before."""
        deadline, looked = time.monotonic() + seconds, time.monotonic()
        while not (found := until()):
            now = time.monotonic()
            status = self.status() if now - looked > 60 else ""
            looked = now if status else looked
            if now > deadline or status.startswith("finished"):
                if found := until():  # it came while Flower was asked
                    return found
                raise StoppedError(f"waited for {what}: {status or 'not yet'}; the record: {self._last_events()}")
            time.sleep(0.05)
        return found

    def wait_for_event(self, seconds: float = 300, **fields: Any) -> dict[str, Any]:
        """Wait until the record has an event with these fields, and return the first."""
        return dict(self.wait(lambda: self._matching(fields), seconds, f"an event {fields}"))

    def ended_as(self, seconds: float = 300) -> str:
        """Wait until the run has ended for Flower too, some seconds after its record has, and return as what."""
        deadline = time.monotonic() + seconds
        while not (status := self.status()).startswith("finished") and time.monotonic() < deadline:
            time.sleep(0.5)
        return status

    def finish(self, seconds: float = 600) -> dict[str, Any]:
        """Wait for the end and return the summary."""
        self.wait(lambda: self.summary().get("status", "running") != "running", seconds, "the end of the run")
        return self.summary()

    def _matching(self, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        return next((event for event in self.events() if fields.items() <= event.items()), None)

    def _last_events(self) -> str:
        return "\n".join(str(event)[:200] for event in self.events()[-8:])


def name(device: int) -> str:
    """Return what a device is called."""
    return f"device-{device}"
