"""What a device says of itself in ``--node-config`` is taken as it was meant, or refused with its name."""

from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict

from dimat_flwr.peer.messages import handle
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.report import Report, read_report
from tests.in_process_app import ROOT


def said(output: Path, node_config: dict[str, Any]) -> Report:
    asked = Instruction(peer=-1, peers=3, run="run", simulation=False, rounds=2)
    content = RecordDict({names.INSTRUCTION: asked.to_record()})
    run_config = {"model": "mlp", "output-dir": str(output), "overrides": "model.in_features=64"}
    reply = handle(names.SETUP_MESSAGE, content, RecordDict(), run_config, node_config, ROOT / "conf")
    return read_report(reply[names.REPORT])


@pytest.mark.parametrize("place", ["a", "", -2, 1.0, 1.5, True, float("nan"), 10**20, "1 2", "٣"])
def test_a_place_that_is_none_is_named(place: object, tmp_path: Path) -> None:
    told = said(tmp_path, {"partition-id": place})
    assert told.problem == f"partition-id in --node-config is {place!r}; it is the peer's place, counting from 0"
    assert told.place == -1


@pytest.mark.parametrize("key", ["devise", "key_file", "keyfile", "seals", "State-Dir", "noise-multiplyer"])
def test_a_key_that_is_nearly_one_of_ours_is_named(key: str, tmp_path: Path) -> None:
    assert f"keys that nothing reads: '{key}' (did you mean '" in said(tmp_path, {key: 1}).problem


def test_keys_of_other_apps_are_none_of_our_business(tmp_path: Path) -> None:
    theirs = {"device-id": 7, "data-path": "/x", "model": "m", "num-partitions": 3, "worker-idle": 0, "threads": 1}
    told = said(tmp_path, {"partition-id": "2", **theirs})
    assert (told.place, told.problem) == (2, "")
