"""A run that was cut off and is gone on with ends with exactly what a whole run ends with."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from dimat_flwr.launch import launch
from dimat_flwr.relay import run_relay
from tests.in_process_app import ROOT, Run
from tests.resume.interrupted import PEERS, Unequal, assert_same, cut_off, go_on, run, settings_of

RUNS: dict[str, dict[str, Any]] = {
    "dimat": {"algorithm": "dimat", "topology": "ring"},
    "sgp": {"algorithm": "sgp", "topology": "exponential"},
    "relaysgd": {"algorithm": "relaysgd", "topology": "chain"},
    "cga": {"algorithm": "cga", "topology": "ring"},
    "top_k": {"algorithm": "weight_averaging", "codec": "top_k", "topology": "ring"},
    "choco": {"algorithm": "choco", "codec": "top_k", "topology": "ring"},
    "final merge": {"algorithm": "weight_averaging", "final_merge": "uniform", "topology": "chain"},
    "changing graphs": {"algorithm": "weight_averaging", "topology": "random_matching", "codec": "top_k"},
    "seldom": {"algorithm": "weight_averaging", "schedule": "every_n", "overrides": "schedule.n=3", "rounds": 7},
    "instruments": {"algorithm": "weight_averaging", "instruments": "all", "overrides": "instruments.every=2"},
    "signed": {"algorithm": "weight_averaging", "overrides": "security.sign=true security.seal=true"},
}
BEGINNING = "it has finished nothing before"
_whole: dict[str, Run] = {}


@pytest.fixture
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    name = request.getfixturevalue("name")
    if name not in _whole:
        _whole[name] = run(settings_of(tmp_path_factory.mktemp("whole"), **RUNS[name]))
    return _whole[name]


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "top_k")) for name in RUNS])
def test_it_ends_as_if_nothing_had_been(name: str, whole: Run, tmp_path: Path) -> None:
    draw = random.Random(name)
    for attempt in range(3):
        begun, onto = tmp_path / f"begun-{attempt}", tmp_path / f"onto-{attempt}"
        cut, speed = draw.randrange(PEERS * whole.summary["exchanges"] - 1), draw.randrange(1000)
        folder = cut_off(settings_of(begun, **RUNS[name]), speed, cut, draw.random() < 0.5, onto)
        assert folder is not None
        assert_same(go_on(folder, speed + 1), whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cga", "top_k"])
def test_one_peer_s_newest_checkpoint_is_damaged(name: str, whole: Run, tmp_path: Path) -> None:
    draw = random.Random(name)
    for attempt in range(3):
        begun, onto = tmp_path / f"begun-{attempt}", tmp_path / f"onto-{attempt}"
        cut, speed = draw.randrange(6, PEERS * whole.summary["exchanges"] - 1), draw.randrange(1000)
        folder = cut_off(settings_of(begun, **RUNS[name]), speed, cut, True, onto)
        assert folder is not None
        newest = max(draw.choice(sorted(_by_peer(folder).items()))[1])
        newest.write_bytes(newest.read_bytes()[:-1])
        found = go_on(folder, speed + 1)
        assert_same(found, whole)
        (reason,) = {event["reason"] for event in found.events("resumed")} - {"its newest checkpoint", BEGINNING}
        assert reason == f"its checkpoint of exchange {int(newest.stem[-8:])} is damaged or missing"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["top_k"])
def test_twice(name: str, whole: Run, tmp_path: Path) -> None:
    once = cut_off(settings_of(tmp_path / "begun", **RUNS[name]), 3, 6, True, tmp_path / "once")
    assert once is not None
    settings = {"resume-from": str(once), "output-dir": str(once.parent)}
    twice = cut_off(settings, 5, 4, False, tmp_path / "twice")
    assert twice is not None
    found = go_on(twice, 6)
    assert_same(found, whole)
    assert len(found.events("resumed")) == 2 * PEERS


@pytest.mark.slow
@pytest.mark.parametrize("name", ["top_k", "final merge"])
def test_more_rounds_than_were_planned(name: str, tmp_path: Path) -> None:
    few, many = ({**RUNS[name], "rounds": rounds} for rounds in (2, 4))
    short = run(settings_of(tmp_path / "short", **few))
    assert_same(go_on(short.folder, 1, rounds=4), run(settings_of(tmp_path / "long", **many)))


def _by_peer(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in (folder / "checkpoints").iterdir():
        found.setdefault(path.name.split("-")[1], []).append(path)
    return found


def test_the_relay_s_folder_has_been_moved_and_the_devices_files_have_not(tmp_path: Path) -> None:
    few = {"algorithm": "weight_averaging", "rounds": 2}
    folder = cut_off(settings_of(tmp_path / "begun", **few), 1, 7, True, tmp_path / "moved")
    assert folder is not None
    for left_there in ("checkpoints", "models"):
        shutil.rmtree(folder / left_there)
    for rounds in (2, 3):
        devices = Unequal({"resume-from": str(folder)}, 2, None, True)
        devices.simulation = False
        assert go_on(folder, post=devices, rounds=rounds).summary["status"] == "completed"
    assert not (folder / "checkpoints").exists()
    assert not (folder / "models").exists()
    assert json.loads((folder / "settings.json").read_text())["output-dir"] == str(tmp_path / "begun")


def test_outages_of_all_its_stretches_are_added_up(tmp_path: Path) -> None:
    class Outage(Unequal):
        out_of_reach = 5.0

    settings = settings_of(tmp_path, algorithm="weight_averaging", topology="ring", rounds=1)
    post = Outage(settings, 0, None, True)
    first = Run(launch(settings, ROOT / "conf", "pytest", lambda *arguments: run_relay(post, *arguments)))
    assert first.summary["superlink_away_s"] == 5.0
    for total in (10.0, 15.0):
        again = {"resume-from": str(first.folder)}
        found = go_on(first.folder, post=Outage(again, 0, None, True), rounds=int(total / 5))
        assert found.summary["superlink_away_s"] == total
    assert go_on(first.folder, rounds=4).summary["superlink_away_s"] == 15.0
