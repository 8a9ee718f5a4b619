"""The interface carries algorithms of quite another shape than DIMAT, through the whole relay and peer."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.in_process_app import ROOT, run_app

PEERS = 4


@pytest.fixture
def conf_dir(tmp_path: Path) -> Path:
    copy = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", copy)
    (copy / "algorithm" / "toy_push_sum.yaml").write_text("_target_: tests.algorithms.toys.ToyPushSum\n")
    (copy / "algorithm" / "toy_two_phase.yaml").write_text("_target_: tests.algorithms.toys.ToyTwoPhase\n")
    return copy


def test_push_sum_converges_to_the_average_on_a_directed_graph(tmp_path: Path, conf_dir: Path) -> None:
    edges = tmp_path / "edges.txt"
    edges.write_text("0 1\n1 2\n2 3\n3 0\n0 2\n")  # strongly connected, not balanced
    run = run_app(
        tmp_path / "out", PEERS, conf_dir=conf_dir, algorithm="toy_push_sum", topology="edge_list", rounds=60,
        overrides=f"topology.path={edges} topology.directed=true topology.weights=column_stochastic",
    )  # fmt: skip
    states = run.events("state")
    # Mass is conserved in every round, and z = x / w goes to the mean of (i, i^2).
    for round_number in (1, 30, 60):
        assert sum(event["w"] for event in states if event["round"] == round_number) == pytest.approx(PEERS)
    final = [event["z"] for event in states if event["round"] == 60]
    assert len(final) == PEERS
    np.testing.assert_allclose(final, [[1.5, 3.5]] * PEERS, rtol=1e-9)


def test_rows_and_columns_are_not_confused(tmp_path: Path, conf_dir: Path) -> None:
    with pytest.raises(ValueError, match="needs a mixing matrix whose columns sum to 1"):
        run_app(tmp_path / "out", PEERS, conf_dir=conf_dir, algorithm="toy_push_sum", topology="ring", rounds=1)


def test_two_phases_a_round_with_one_payload_per_neighbour(tmp_path: Path, conf_dir: Path) -> None:
    edges = tmp_path / "edges.txt"
    edges.write_text("0 1\n1 2\n2 3\n3 0\n0 2\n")
    run = run_app(
        tmp_path / "out", PEERS, conf_dir=conf_dir, algorithm="toy_two_phase", topology="edge_list", rounds=2,
        overrides=f"topology.path={edges} topology.directed=true",
    )  # fmt: skip
    value = {i: np.array([i + 1, i**2 + 1]) for i in range(PEERS)}
    out = {0: [1, 2], 1: [2], 2: [3], 3: [0]}  # whom i's value goes to, so who answers i
    answers = run.events("answers")
    assert [(event["round"], event["peer"]) for event in answers] == [(r, i) for r in (1, 2) for i in range(PEERS)]
    for event in answers:
        i = event["peer"]
        assert [int(j) for j in event["sources"]] == out[i]
        for j, product in zip(out[i], event["products"], strict=True):
            np.testing.assert_array_equal(product, value[i] * value[j])
