"""A run that cannot be gone on with is refused before anything is trained, and keeps what it had."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import RecordDict

from dimat_flwr.config import ConfigError
from dimat_flwr.records import ContinuedFolder, RecordsError
from dimat_flwr.relay import PlanError, SetupError
from tests.resume.interrupted import Unequal, cut_off, go_on, run, settings_of

CHOICES = {"algorithm": "weight_averaging", "rounds": 6}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = cut_off(
        settings_of(tmp_path_factory.mktemp("begun"), **CHOICES), 1, 22, True, tmp_path_factory.mktemp("l")
    )
    assert folder is not None
    return folder


@pytest.fixture
def folder(left: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(left, tmp_path / left.name))


def refused(folder: Path, kind: type[Exception], **news: object) -> str:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(kind) as caught:
        go_on(folder, **news)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    return str(caught.value)


def test_another_configuration_is_named_by_its_key(folder: Path) -> None:
    said = refused(folder, ConfigError, overrides="optimizer.lr=0.5", seed=3)
    assert "'optimizer.lr' was 0.001 and would be 0.5" in said
    assert "'seed' was 0 and would be 3" in said
    assert "rounds" in refused(folder, PlanError, rounds=2)


def test_a_run_that_still_goes_on(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "heartbeat": "2999-01-01T00:00:00+00:00"}))
    assert "still goes on" in refused(folder, RecordsError)


def test_a_run_that_somebody_else_has_gone_on_with_meanwhile(folder: Path) -> None:
    class Overtaken(Unequal):
        def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
            summary = json.loads((folder / "summary.json").read_text())
            (folder / "summary.json").write_text(json.dumps({**summary, "heartbeat": "2999-01-01T00:00:00+00:00"}))
            return super().answer(peer, kind, content)

    kept = sorted((folder / "checkpoints").iterdir())
    newest = max((folder / "checkpoints").glob("peer-1-*"))
    newest.write_bytes(b"")  # from where the other run has gone on, this one would go back
    with pytest.raises(RecordsError, match="still goes on"):
        go_on(folder, post=Overtaken({"resume-from": str(folder)}, 0, None, True))
    assert sorted((folder / "checkpoints").iterdir()) == kept


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="give the folder of a run"):
        go_on(tmp_path / "nothing")


@pytest.mark.parametrize("nowhere", ["/", "..", "."])
def test_what_names_no_folder_begins_no_other_run(nowhere: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, RecordsError)):
        go_on(Path(nowhere), **{"output-dir": str(tmp_path)})
    assert not list(tmp_path.iterdir())


def test_a_peer_that_has_lost_all(folder: Path) -> None:
    for path in (folder / "checkpoints").glob("peer-2-*"):
        path.unlink()
    said = refused(folder, SetupError)
    assert "nothing was trained, because checkpoints are missing" in said
    assert "peer 2 (has no checkpoint) needs for exchange 1 what peer" in said
    assert "training.initialization=file" in said


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x")])
def test_all_but_the_newest_two_of_everybody_are_gone_and_so_are_those(
    folder: Path, damage: Callable[[Path], None]
) -> None:
    for peer in range(4):
        for path in sorted((folder / "checkpoints").glob(f"peer-{peer}-*"))[:-1] if peer else ():
            damage(path)
    newest = max((folder / "checkpoints").glob("peer-0-*"))
    newest.write_bytes(b"")  # so that peer 0 has to read again what the others have lost
    assert "peer 0 (goes on from exchange" in refused(folder, SetupError)


@pytest.mark.slow
def test_a_run_without_checkpoints(tmp_path: Path) -> None:
    never = run(settings_of(tmp_path, "checkpoint.save=never", **CHOICES)).folder
    assert "checkpoint.save is never" in refused(never, SetupError)
    assert "no peer has a checkpoint of this run" in refused(never, SetupError, overrides="checkpoint.save=always")
    assert "checkpoint.save is auto" in refused(never, SetupError, overrides="checkpoint.save=auto")


@pytest.mark.slow
def test_a_run_that_is_complete(tmp_path: Path) -> None:
    whole = run(settings_of(tmp_path, **CHOICES)).folder
    assert "the run is complete, all peers have done its 6 rounds" in refused(whole, SetupError)


@pytest.mark.parametrize("damage", ["topology: [", "seed: *a", "\tx", "rounds: 6.5", "rounds: ${nope}"])
def test_a_configuration_that_cannot_be_read_any_more(folder: Path, damage: str) -> None:
    before = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(before.replace("rounds: 6", damage))
    said = refused(folder, ConfigError)
    assert "config.yaml of the run" in said
    assert "bring a copy back" in said


@pytest.mark.parametrize("text", ["[]", "{", '{"1": "sign:x:y"}', '{"one": ""}', '{"1": 3}'])
def test_introductions_that_cannot_be_read_any_more(folder: Path, text: str) -> None:
    (folder / "introductions.json").write_text(text)
    with pytest.raises(RecordsError, match=r"cannot read .*introductions\.json"):
        ContinuedFolder(folder).introductions()


@pytest.mark.parametrize(
    ("line", "peer"),
    [
        ('{"event":"redrawn","round":1,"peer":1,"exchange":"merge","left":[],"joined":[4]}', 4),
        ('{"event":"redrawn","round":1,"peer":1,"exchange":"merge","left":[7],"joined":[]}', 7),
        ('{"event":"failure","round":1,"peer":9,"exchange":"merge","error":"x"}', 9),
        ('{"event":"vacant","round":0,"peer":4,"exchange":"start"}', 4),
    ],
)
def test_a_record_that_tells_of_peers_that_there_are_not(folder: Path, line: str, peer: int) -> None:
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")
    assert f"metrics.jsonl tells of peer {peer}, and the run has peers 0 to 3" in refused(folder, PlanError)
