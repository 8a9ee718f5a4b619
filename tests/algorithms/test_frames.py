"""Peers that hold one function in orders of their own: who finds that out, and whose order they end up in."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dimat_flwr.relay import SetupError
from tests.algorithms.trajectories import LR, ROUNDS, Trajectory, assert_follows, gradients, graph, trajectory
from tests.in_process_app import Run, run_app

STILL = (
    "training.pretrain_epochs=0 training.local_epochs=0 model._target_=tests.algorithms.shuffled.Shuffled "
    "~model.in_features ~model.width ~model.depth ~model.batchnorm evaluate.save_models=false"
)
PEERS = 5
# What brings everybody into the order of peer 0.
COMMON = {
    "aligned_averaging": "",
    "aligned_averaging by activations": "algorithm.matching={samples:300}",
    "dimat": "algorithm.frame=common",
}
Models = list[dict[str, torch.Tensor]]


def run(folder: Path, algorithm: str, overrides: str = "", **settings: Any) -> tuple[Run, Models]:
    found = run_app(
        folder, PEERS, algorithm=algorithm.split()[0], dataset="breast_cancer", model="mlp",
        overrides=f"{STILL} {overrides}", **({"rounds": 1, "topology": "ring"} | settings),
    )  # fmt: skip
    assert found.summary["status"] == "completed", found.events("failure")
    return found, [found.model(peer) for peer in range(PEERS)]


def furthest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.fixture
def start(tmp_path: Path) -> Models:
    models = run(tmp_path / "start", "local_only")[1]
    assert min(furthest(models[0], models[i]) for i in range(1, PEERS)) > 0.1, "they must differ"
    return models


@pytest.mark.parametrize("topology", ["ring", "chain", "fully_connected"])
@pytest.mark.parametrize("algorithm", COMMON)
def test_all_end_in_the_order_of_peer_0(tmp_path: Path, start: Models, algorithm: str, topology: str) -> None:
    found, models = run(tmp_path / "run", algorithm, COMMON[algorithm], topology=topology)
    assert max(furthest(start[0], model) for model in models) < 1e-6
    aligned = found.events("aligned")
    assert sorted(event["peer"] for event in aligned) == [1, 2, 3, 4], "each once, to its parent"
    parents = {"ring": [0, 1, 4, 0], "chain": [0, 1, 2, 3], "fully_connected": [0] * 4}[topology]
    assert [event["source"] for event in sorted(aligned, key=lambda event: event["peer"])] == parents
    links = {"ring": 5, "chain": 4, "fully_connected": 10}[topology]
    assert len(found.summary["edges"]) == 2 * links, "the record shows the topology, not the tree"


@pytest.mark.parametrize("algorithm", ["weight_matching", "dimat"])
def test_matching_the_neighbours_leaves_everybody_where_it_was(tmp_path: Path, start: Models, algorithm: str) -> None:
    found, models = run(tmp_path / "run", algorithm)
    assert max(furthest(before, after) for before, after in zip(start, models, strict=True)) < 1e-6
    assert len(found.events("aligned")) == 2 * PEERS
    assert all(event["units_moved"] > 0.5 for event in found.events("aligned"))


def test_plain_averaging_mixes_units_that_have_nothing_in_common(tmp_path: Path, start: Models) -> None:
    models = run(tmp_path / "run", "weight_averaging")[1]
    assert min(furthest(before, after) for before, after in zip(start, models, strict=True)) > 0.1


def aligning(found: Run) -> list[int]:
    return sorted({event["round"] for event in found.events("aligned")})


def test_orders_are_taken_before_the_first_merge_and_again_if_wanted(tmp_path: Path) -> None:
    once = run(tmp_path / "1", "aligned_averaging", rounds=6, schedule="every_n")[0]
    again = run(tmp_path / "2", "aligned_averaging", "algorithm.realign_every=3", rounds=6)[0]
    every = run(tmp_path / "3", "dimat", "algorithm.frame=common", rounds=3)[0]
    assert (aligning(once), aligning(again), aligning(every)) == ([2], [1, 4], [1, 2, 3])


@pytest.mark.parametrize("algorithm", ["aligned_averaging", "dimat"])
def test_repair_that_would_be_ignored_is_refused(tmp_path: Path, algorithm: str) -> None:
    setting = {"aligned_averaging": "algorithm.matching={repair:true}",
               "dimat": "algorithm.frame=common algorithm.matching.repair=true"}[algorithm]  # fmt: skip
    with pytest.raises(SetupError, match=r"matching\.repair does nothing"):
        run(tmp_path, algorithm, setting)


@pytest.mark.parametrize("algorithm", ["dimat", "weight_matching", "aligned_averaging"])
def test_a_network_without_units_is_averaged_plainly(tmp_path: Path, algorithm: str) -> None:
    g = graph("irregular", tmp_path)
    found = trajectory(tmp_path, algorithm, g)
    merges: Trajectory = found
    if algorithm == "aligned_averaging":  # two exchanges more in round 1, in which nothing moves
        merges = Trajectory(found.x[2:], found.states, found.run)
    x = [merges.x[0]]
    for r in range(1, ROUNDS + 1):
        mixed = g.w(r) @ x[-1]
        x.append(mixed - (LR * gradients(mixed) if r < ROUNDS else 0))
    assert_follows(merges, x)
