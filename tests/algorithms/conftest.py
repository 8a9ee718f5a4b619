"""A configuration folder that has the toy algorithms too."""

import shutil
from pathlib import Path

import pytest

from tests.in_process_app import ROOT

TOYS = {
    "toy_push_sum": "ToyPushSum",
    "toy_ask_answer": "ToyAskAnswer",
    "toy_relay_sums": "ToyRelaySums",
    "toy_half": "ToyHalf",
    "toy_own_step": "ToyOwnStep",
    "toy_raises": "ToyRaises",
    "toy_constant": "ToyConstant",
}


@pytest.fixture(scope="session")
def conf_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder, to be read only: what is composed from it is composed once for all tests."""
    copy = tmp_path_factory.mktemp("algorithms") / "conf"
    shutil.copytree(ROOT / "conf", copy)
    for key, name in TOYS.items():
        (copy / "algorithm" / f"{key}.yaml").write_text(f"_target_: tests.algorithms.toys.{name}\n")
    return copy


@pytest.fixture
def digraph(tmp_path: Path) -> str:
    """Return overrides for a graph of four peers that is strongly connected, but not balanced."""
    edges = tmp_path / "edges.txt"
    edges.write_text("0 1\n1 2\n2 3\n3 0\n0 2\n")
    return f"topology.path={edges} topology.directed=true"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow, for they are runs of many rounds, what is not the first parameter of a test in this folder, and all
    trajectories but those of one file."""
    seen: set[str] = set()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            name = item.nodeid.split("[")[0]
            trajectory = item.path.stem.startswith("test_dense_") and item.path.stem != "test_dense_sgd"
            if name in seen or trajectory or item.path.stem in ("test_choco", "test_frames"):
                item.add_marker(pytest.mark.slow)
            seen.add(name)
