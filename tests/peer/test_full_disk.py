"""A disk that takes no models: the peer stays in the run, and the record says what is missing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dimat_flwr.events import Final
from dimat_flwr.peer import session
from dimat_flwr.peer.checkpoint import Checkpoint, CheckpointError, CheckpointFolder
from dimat_flwr.relay import SetupError
from dimat_flwr.wire.instruction import Instruction
from tests.in_process_app import run_app

QUICK = "training.pretrain_epochs=1 training.local_epochs=1 dataset.train_samples=100 model.width=1"


def test_a_peer_that_cannot_save_its_model_stays_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = session.save_model

    def full(config: Any, instruction: Instruction, state: Any) -> Callable[..., Final]:
        if instruction.peer == 1 and instruction.round > 0:
            raise OSError(28, "No space left on device")
        return save(config, instruction, state)

    monkeypatch.setattr(session, "save_model", full)
    run = run_app(tmp_path, 3, rounds=2, algorithm="weight_averaging", overrides=QUICK)
    assert run.summary["status"] == "completed"
    warned = [event for event in run.events("note") if event["name"] == "warning"]
    assert [(event["peer"], event["round"]) for event in warned] == [(1, 1), (1, 2)]
    assert warned[1]["values"]["text"] == "the model of round 2 could not be saved: No space left on device"
    finals = {event["peer"]: event for event in run.events("final")}
    assert [bool(finals[peer]["file"]) for peer in range(3)] == [True, False, True]
    assert finals[1]["accuracy"] is not None
    # What it saved before is still there, whole.
    assert run.model(1).keys() == run.model(0).keys()


def test_a_checkpoint_that_cannot_be_written_below_a_long_path_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: CheckpointFolder, checkpoint: Checkpoint) -> None:
        raise CheckpointError(f"no checkpoint in {'/a-long-path' * 40}: No space left on device")

    monkeypatch.setattr(CheckpointFolder, "save", full)
    run = run_app(tmp_path, 2, rounds=1, algorithm="weight_averaging", overrides=f"{QUICK} checkpoint.save=always")
    assert run.summary["status"] == "completed"
    warned = [event["values"]["text"] for event in run.events("note") if event["name"] == "warning"]
    assert len(warned) == 4
    assert all(text.endswith("a-long-path: No space left on device") for text in warned)


def test_a_place_for_checkpoints_that_cannot_be_written_to_is_found_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    overrides = f"{QUICK} checkpoint.save=always checkpoint.dir={tmp_path}/file"
    with pytest.raises(SetupError, match=r"every peer: checkpoints cannot be saved in .*file.*; set state-dir"):
        run_app(tmp_path / "out", 2, rounds=1, algorithm="weight_averaging", overrides=overrides)
