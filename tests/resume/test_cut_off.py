"""A run that was cut off and is gone on with ends with exactly what a whole run ends with."""

import random
from pathlib import Path
from typing import Any

import pytest

from tests.in_process_app import Run
from tests.resume.interrupted import PEERS, assert_same, cut_off, go_on, run, settings_of

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
_whole: dict[str, Run] = {}


@pytest.fixture
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    name = request.getfixturevalue("name")
    if name not in _whole:
        _whole[name] = run(settings_of(tmp_path_factory.mktemp("whole"), **RUNS[name]))
    return _whole[name]


@pytest.mark.parametrize("name", RUNS)
def test_it_ends_as_if_nothing_had_been(name: str, whole: Run, tmp_path: Path) -> None:
    draw = random.Random(name)
    for attempt in range(3):
        begun, onto = tmp_path / f"begun-{attempt}", tmp_path / f"onto-{attempt}"
        cut, speed = draw.randrange(PEERS * whole.summary["exchanges"] - 1), draw.randrange(1000)
        folder = cut_off(settings_of(begun, **RUNS[name]), speed, cut, draw.random() < 0.5, onto)
        assert folder is not None
        assert_same(go_on(folder, speed + 1), whole)
