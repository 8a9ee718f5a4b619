"""What the process does that Flower starts for a message: who is asked, whether at all, and how little it imports."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, RecordDict

from dimat_flwr.local import post
from dimat_flwr.peer import handle
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.report import read_report
from dimat_flwr.worker import ask as asking
from dimat_flwr.worker.ask import Applicant, ask
from dimat_flwr.worker.errors import LineError, NoWorkerError
from dimat_flwr.worker.identity import identity
from dimat_flwr.worker.idle import worker_idle
from tests.in_process_app import ROOT, run_app
from tests.worker.asking import is_running, wait_for


def context(**node_config: Any) -> Context:
    config = {name.replace("_", "-"): value for name, value in node_config.items()}
    return Context(7, 8, node_config=config, state=RecordDict(), run_config={"rounds": 3}, series_id=7)


def send(device: Context) -> object:
    return ask("query.setup", RecordDict({"asked": ConfigRecord({})}), device, ROOT)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Applicant]:
    """Return whose workers were asked; nothing is started."""
    found: list[Applicant] = []

    def have_done(self: Applicant, errand: object) -> tuple[RecordDict, RecordDict]:
        found.append(self)
        return RecordDict(), RecordDict()

    monkeypatch.setattr(Applicant, "have_done", have_done)
    return found


@pytest.mark.parametrize(
    "more", [{"worker_idle": 0}, {"worker_idle": "long"}, {"worker_idle": -1}, {"worker_idle": True}]
)
def test_a_device_that_wants_no_worker_has_none(
    tmp_path: Path, asked: list[Applicant], more: Mapping[str, Any]
) -> None:
    assert send(context(state_dir=str(tmp_path), **more)) is None
    assert send(context(partition_id=3)) is None, "a simulation, or nowhere to be"
    assert asked == []
    assert list(tmp_path.iterdir()) == []


def test_a_device_with_a_state_dir_has_one_in_it_by_its_place(tmp_path: Path, asked: list[Applicant]) -> None:
    for node_config in ({"partition_id": 3}, {}):
        assert send(context(state_dir=str(tmp_path), **node_config)) is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == [".worker-3", ".worker-node-8"]
    assert len({who._identity for who in asked}) == 2


def test_where_there_can_be_none_the_log_says_why(
    tmp_path: Path, asked: list[Applicant], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    device = context(state_dir=str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        assert send(device) is None
    assert "without a worker" in caplog.text
    assert "platform" in caplog.text
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["flwr-clientapp", "--allow-runtime-dependency-installation"])
        assert send(device) is None
    assert "--allow-runtime-dependency-installation" in caplog.text
    (tmp_path / "file").write_text("")
    assert send(context(state_dir=str(tmp_path / "file"))) is None
    assert "cannot be made" in caplog.text
    assert asked == []


def test_a_message_through_which_no_worker_lives_is_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class GoneError(Exception):
        pass

    def lost(*_: object) -> None:
        raise LineError("gone")

    def leave(code: int) -> None:
        raise GoneError(code)

    monkeypatch.setattr(Applicant, "have_done", lost)
    monkeypatch.setattr(asking.os, "_exit", leave)
    with pytest.raises(GoneError, match="1"):
        send(context(state_dir=str(tmp_path)))
    assert "No worker lives through this message: gone" in caplog.text
    monkeypatch.setattr(Applicant, "have_done", lambda *_: _refuse())
    assert send(context(state_dir=str(tmp_path))) is None


def _refuse() -> None:
    raise NoWorkerError("no room")


def test_how_long_a_worker_waits() -> None:
    assert worker_idle({}) == 600
    assert worker_idle({"worker-idle": 5}) == 5
    with pytest.raises(ValueError, match="worker-idle in --node-config is 'long'"):
        worker_idle({"worker-idle": "long"})


def test_a_wrong_setting_is_refused_before_anybody_trains() -> None:
    asked = Instruction(peer=-1, peers=1, run="run", simulation=False)
    content, device = RecordDict({names.INSTRUCTION: asked.to_record()}), {"worker-idle": "long", "partition-id": 0}
    reply = handle(names.SETUP_MESSAGE, content, RecordDict(), {}, device, ROOT / "conf")
    assert "worker-idle in --node-config is 'long'" in read_report(reply[names.REPORT]).problem


def test_anything_else_is_another_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("apps", "dimat_flwr/worker", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    found = [identity(context(), tmp_path)]
    assert identity(context(), tmp_path) == found[0]
    found.append(identity(context(threads=2), tmp_path))
    changed = context()
    changed.run_config = {"rounds": 4}
    found.append(identity(changed, tmp_path))
    found.append(identity(Context(9, 8, {}, RecordDict(), {"rounds": 3}, 7), tmp_path))
    found.append(identity(Context(7, 9, {}, RecordDict(), {"rounds": 3}, 7), tmp_path))
    for name in ("apps/client_app.py", "dimat_flwr/worker/ask.py", "conf/config.yaml"):
        with (tmp_path / name).open("a") as file:
            file.write("# edited\n")
        found.append(identity(context(), tmp_path))
    (tmp_path / "dimat_flwr" / "new.py").write_text("")
    found.append(identity(context(), tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found.append(identity(context(), tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    found.append(identity(context(), tmp_path))
    assert len(set(found)) == len(found)


def test_whoever_asks_imports_next_to_nothing() -> None:
    code = (
        "import sys\nimport flwr.supernode.runtime.run_clientapp\nbefore = set(sys.modules)\n"
        "import apps.client_app, dimat_flwr.worker.ask\n"
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith(('apps', 'dimat_flwr'))))\n"
        "print(*sorted(name for name in set(sys.modules) - before if name.startswith('dimat_flwr')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    others, own = done.stdout.splitlines()
    assert set(others.split()) <= {"flwr.clientapp", "flwr.clientapp.client_app", "flwr.app"}
    assert {name.split(".")[1] for name in own.split() if "." in name} == {"worker"}


@pytest.mark.slow
def test_peers_with_workers_do_what_peers_without_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {
        "dataset": "breast_cancer", "model": "mlp", "algorithm": "weight_averaging", "rounds": 2,
        "overrides": "training.pretrain_epochs=1 training.threads=1",
    }  # fmt: skip
    plain = run_app(tmp_path / "plain", 2, simulation=False, **settings)
    workers: set[int] = set()

    def through_a_worker(kind: str, content: RecordDict, state: RecordDict, run_config: Any, node_config: Any,
                         conf_dir: Path) -> RecordDict:  # fmt: skip
        node = {**node_config, "state-dir": str(tmp_path / "state")}
        device = Context(1, 1, node_config=node, state=state, run_config=dict(run_config), series_id=1)
        done = ask(kind, content, device, ROOT)
        assert done is not None
        workers.update(int(lock.read_text()) for lock in tmp_path.glob("state/.worker-*/lock"))
        state.clear()
        state.update(done[1])
        return done[0]

    monkeypatch.setattr(post, "handle", through_a_worker)
    warm = run_app(tmp_path / "warm", 2, simulation=False, **settings)
    assert warm.events() == plain.events()
    assert len(workers) == 2, "each peer had one, from the setup to the end"
    wait_for(lambda: not any(map(is_running, workers)))
