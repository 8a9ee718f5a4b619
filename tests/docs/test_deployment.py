"""docs/deployment.md and deploy/: every command taken by those who would run it, and the trial run word for word."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.markdown import ROOT, blocks, commands, read, section
from tests.e2e.processes import end, free_ports

DEPLOY = ROOT / "deploy"
TEXT = read("docs/deployment.md")
BIN = Path(sys.executable).parent


def test_the_scripts_are_bash() -> None:
    for path in DEPLOY.glob("*.sh"):
        subprocess.run(["bash", "-n", str(path)], check=True)
        assert os.access(path, os.X_OK)


def test_every_file_that_is_named_is_there_and_every_file_is_named() -> None:
    named = set(re.findall(r"deploy/([\w.-]+\w)", TEXT))
    made = {"keys", "data"}  # by whoever follows the text
    assert named - made == {path.name for path in DEPLOY.iterdir()} - made


def started() -> Iterator[tuple[str, list[str]]]:
    """Yield where a SuperLink or SuperNode is started, and the words of the command."""
    units = {path.name: path.read_text() for path in DEPLOY.glob("*.service")}
    for name, text in units.items():
        (line,) = re.findall(r"^ExecStart=(.*)$", text.replace("\\\n", " "), re.MULTILINE)
        settings = (DEPLOY / "supernode.env").read_text()
        for key, value in re.findall(r"^(\w+)=(.*)$", settings, re.MULTILINE):
            line = line.replace(f"${{{key}}}", shlex.quote(value.strip('"')))
        yield name, shlex.split(line)
    for name, service in yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].items():
        yield name, shlex.split(service["command"])
    for block in blocks(TEXT, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.search(r"\b(flower-super(?:link|node) --.*)", line):
                yield (
                    "deployment.md",
                    shlex.split(re.sub(r"[>&].*$", "", found[1]).replace("$((port + 1 + i))", "9094")),
                )


@pytest.mark.parametrize(("where", "words"), list(started()), ids=lambda value: value if isinstance(value, str) else "")
def test_flower_takes_the_command(where: str, words: list[str]) -> None:
    from flwr.superlink.cli.flower_superlink import _parse_args_run_superlink
    from flwr.supernode.cli.flower_supernode import _parse_args_run_supernode

    from dimat_flwr.config import NODE_KEYS

    parsers: dict[str, Any] = {
        "flower-superlink": _parse_args_run_superlink, "flower-supernode": _parse_args_run_supernode,
    }  # fmt: skip
    given = vars(parsers[Path(words[0]).name]().parse_args([word.replace("$port", "9091") for word in words[1:]]))
    assert given["port"]
    if given.get("node_config"):
        keys = re.findall(r"([\w-]+)=", given["node_config"])
        assert "partition-id" in keys
        assert set(keys) <= {"partition-id", *NODE_KEYS}


def test_dimat_flwr_takes_the_commands() -> None:
    import click
    import typer

    from dimat_flwr.cli import app

    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)
    found = [words for words in commands(TEXT) if words[0] == "dimat-flwr"]
    assert {words[1] for words in found} >= {"status", "report"}
    for words in found:
        group.commands[words[1]].make_context(words[1], list(words[2:]))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_reads_the_units_without_a_word(tmp_path: Path) -> None:
    for path in DEPLOY.glob("*.service"):
        # Only what is not there on this machine is put in place: the environment's folder and the user.
        text = path.read_text().replace("/opt/dimat/bin/flower", f"{BIN}/flower").replace("User=dimat", "User=root")
        (tmp_path / path.name).write_text(text)
        command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / path.name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        about = [line for line in (done.stdout + done.stderr).splitlines() if path.name in line]
        assert about == []


def test_a_certificate_is_for_the_names_it_was_made_for(tmp_path: Path) -> None:
    from cryptography import x509

    for names in (["relay.example.org", "10.0.0.7"], ["other.example.org"]):
        subprocess.run([str(DEPLOY / "credentials.sh"), "superlink", str(tmp_path), *names], check=True)
        certificate = x509.load_pem_x509_certificate((tmp_path / "superlink.crt").read_bytes())
        authority = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
        certificate.verify_directly_issued_by(authority)
        told = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = told.get_values_for_type(x509.DNSName) + [str(ip) for ip in told.get_values_for_type(x509.IPAddress)]
        assert set(hosts) == {*names, "localhost", "127.0.0.1"}
    secret = {path.name for path in tmp_path.iterdir() if path.stat().st_mode & 0o077 == 0}
    assert {"ca.key", "superlink.key"} <= secret


def test_a_device_s_keys_are_kept_and_for_its_owner(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    kept = []
    for _ in range(2):
        subprocess.run([str(DEPLOY / "credentials.sh"), "device", str(tmp_path)], env=environment, check=True)
        kept.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert kept[0] == kept[1]
    assert kept[0].keys() == {"supernode", "supernode.pub", "peer.key", "peer.pub"}
    for name in ("supernode", "peer.key"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


@pytest.mark.slow
@pytest.mark.waits
def test_the_trial_runs_word_for_word(tmp_path: Path) -> None:
    """The section's blocks in one shell, at the root of the clone; the folder, ports and patience alone are others'."""
    script = "\n".join(blocks(section(TEXT, "On one machine first"), "bash"))
    assert script.count("port=9091\n") == 1
    script = script.replace("port=9091\n", f"port={free_ports(4)[0]}\n")  # of the SuperLink, and of three devices
    assert script.count("relay.peers=3 ") == 1
    script = script.replace("relay.peers=3 ", "relay.peers=3 relay.join_timeout=600 ")
    environment = {
        **os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path),
        "FLWR_DISABLE_UPDATE_CHECK": "1", "FLWR_TELEMETRY_ENABLED": "0", "COLUMNS": "120",
    }  # fmt: skip
    # Jobs of a script share its group: this ends them whatever happens.
    shell = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script], cwd=ROOT, env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        printed, _ = shell.communicate(timeout=1800)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        end(tmp_path)
    assert shell.returncode == 0, printed
    (run,) = (tmp_path / "dimat-trial" / "superlink" / "runs").iterdir()
    assert f"{run.name}: completed" in printed
    assert "round 2 of 2 reached by all" in printed
    assert printed.count("done ") >= 3
    for device in range(3):
        home = tmp_path / "dimat-trial" / f"device-{device}"
        (model,) = home.glob("runs/*/models/*.safetensors")
        assert model.name == f"peer-{device}.safetensors"
        assert list(home.glob("state/*/checkpoints/*.checkpoint"))
