"""The interface carries algorithms of quite another shape than DIMAT, through the whole relay and peer."""

from pathlib import Path

import numpy as np
import pytest

from dimat_flwr.config import ConfigError
from dimat_flwr.relay import PlanError
from tests.in_process_app import run_app

PEERS = 4


def test_push_sum_converges_to_the_average_on_a_directed_graph(tmp_path: Path, conf_dir: Path, digraph: str) -> None:
    run = run_app(
        tmp_path / "out", PEERS, conf_dir=conf_dir, algorithm="toy_push_sum", topology="edge_list", rounds=60,
        overrides=digraph,
    )  # fmt: skip
    states = [event for event in run.events("note") if event["name"] == "state"]
    # Mass is conserved in every round, and z = x / w goes to the mean of (i, i^2).
    for number in (1, 30, 60):
        masses = [event["values"]["w"] for event in states if event["round"] == number]
        assert sum(masses) == pytest.approx(PEERS, abs=1e-12)
    final = [event["values"]["z"] for event in states if event["round"] == 60]
    assert len(final) == PEERS
    np.testing.assert_allclose(final, [[1.5, 3.5]] * PEERS, rtol=1e-9)


def test_rows_and_columns_are_not_confused(tmp_path: Path, conf_dir: Path, digraph: str) -> None:
    with pytest.raises(ValueError, match="columns"):
        run_app(
            tmp_path / "out", PEERS, conf_dir=conf_dir, algorithm="toy_push_sum", topology="edge_list", rounds=1,
            overrides=f"{digraph} topology.weighting=uniform",
        )  # fmt: skip


def test_a_doubly_stochastic_matrix_serves_algorithms_of_either_kind(tmp_path: Path, conf_dir: Path) -> None:
    run = run_app(
        tmp_path / "out", PEERS, conf_dir=conf_dir, algorithm="toy_push_sum", topology="ring", rounds=1,
        overrides="topology.weighting=metropolis_hastings",
    )  # fmt: skip
    assert run.summary["status"] == "completed"


def test_two_exchanges_a_round_with_one_payload_per_reader(tmp_path: Path, conf_dir: Path, digraph: str) -> None:
    run = run_app(
        tmp_path / "out", PEERS, conf_dir=conf_dir, algorithm="toy_ask_answer", topology="edge_list", rounds=2,
        overrides=digraph,
    )  # fmt: skip
    value = {i: np.array([i + 1, i**2 + 1]) for i in range(PEERS)}
    out = {0: [1, 2], 1: [2], 2: [3], 3: [0]}  # whom i's value goes to, so who answers i
    answers = {}
    for event in run.events("note"):
        answers.setdefault((event["round"], event["peer"]), {})[event["values"]["source"]] = event["values"]["product"]
    assert sorted(answers) == [(r, i) for r in (1, 2) for i in range(PEERS)]
    for (_, i), found in answers.items():
        assert sorted(found) == out[i]
        for j, product in found.items():
            np.testing.assert_array_equal(product, value[i] * value[j])


def test_an_optimizer_that_would_be_ignored_is_refused(tmp_path: Path, conf_dir: Path) -> None:
    settings = {
        "conf_dir": conf_dir,
        "algorithm": "toy_own_step",
        "rounds": 0,
        "overrides": "training.pretrain_epochs=0",
    }
    with pytest.raises(ConfigError, match=r"'toy_own_step' has a step of its own and would ignore .* 'adam'.* sgd"):
        run_app(tmp_path / "a", PEERS, optimizer="adam", **settings)
    assert run_app(tmp_path / "b", PEERS, optimizer="sgd", **settings).summary["status"] == "completed"


def test_an_algorithm_whose_plan_raises_is_named_before_anything_trains(tmp_path: Path, conf_dir: Path) -> None:
    with pytest.raises(PlanError, match=r"ToyRaises.*round 2.*no such graph"):
        run_app(tmp_path / "out", PEERS, conf_dir=conf_dir, algorithm="toy_raises", rounds=3)
