"""Who hears of whom: relay sums, federated averaging, gossip steps and epidemics against dense matrices."""

from pathlib import Path

import numpy as np
import pytest

from dimat_flwr.relay import PlanError, SetupError
from tests.algorithms.quadratics import ROWS, rows_of
from tests.algorithms.trajectories import (
    LR,
    ROUNDS,
    TREE,
    Graph,
    Vector,
    assert_follows,
    gradients,
    graph,
    trajectory,
)
from tests.in_process_app import run_app


def distances(n: int, links: list[tuple[int, int]]) -> Vector:
    """Return how many links lie between any two peers."""
    far = np.where(np.eye(n, dtype=bool), 0.0, np.inf)
    for a, b in links:
        far[a, b] = far[b, a] = 1
    for k in range(n):
        far = np.minimum(far, far[:, k : k + 1] + far[k : k + 1, :])
    return far


@pytest.mark.parametrize(("name", "links"), [("tree", TREE), ("chain", [(0, 1), (1, 2), (2, 3), (3, 4)])])
def test_relay_sums_are_means_of_past_models(tmp_path: Path, name: str, links: list[tuple[int, int]]) -> None:
    """A peer's model is the mean of what the others had trained as many rounds ago as they are far away."""
    g = graph("tree", tmp_path) if name == "tree" else Graph(5, "chain", "", lambda _: np.eye(5))
    found = trajectory(tmp_path, "relaysgd", g)
    far = distances(5, links)
    trained = [found.x[0]]  # by round: what was published after it
    for r in range(1, ROUNDS + 1):
        mean = np.empty_like(trained[0])
        for i in range(5):
            past = [trained[r - int(far[i, j] or 1)][j] for j in range(5) if far[i, j] <= r]
            mean[i] = np.mean(past, axis=0)
        trained.append(mean - (LR * gradients(mean) if r < ROUNDS else 0))
        counts = [sum(float(c) for c in states[r].slots["counts"].values()) for states in found.states]
        np.testing.assert_array_equal(counts, (far <= r).sum(axis=1) - 1)
    assert_follows(found, trained)


@pytest.mark.parametrize("name", ["ring", "full", "irregular", "metropolis", "alternating"])
def test_relay_sums_off_a_tree_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PlanError, match="relay sums need a tree"):
        trajectory(tmp_path, "relaysgd", graph(name, tmp_path), rounds=2)


def test_relay_sums_wait_where_the_schedule_keeps_silent(tmp_path: Path) -> None:
    found = trajectory(
        tmp_path, "relaysgd", graph("tree", tmp_path), rounds=4, schedule="every_n",
        overrides="schedule.n=2 training.local_steps=2",
    )  # fmt: skip
    x = found.x[0]
    alone = x
    for _ in range(2):
        alone = alone - LR * gradients(alone)
    np.testing.assert_allclose(found.x[1], alone, atol=1e-12)


@pytest.mark.parametrize("weighting", ["samples", "uniform"])
def test_fedavg(tmp_path: Path, weighting: str) -> None:
    """Server-style: one global model, local steps of every client, one weighted mean."""
    g = graph("ring", tmp_path)  # which it does not use
    overrides = f"+dataset.uneven=true training.local_steps=3 algorithm.weighting={weighting}"
    found = trajectory(tmp_path, "fedavg", g, rounds=30, overrides=overrides)
    sizes = np.array([ROWS + i for i in range(5)], dtype=float)
    share = sizes / sizes.sum() if weighting == "samples" else np.full(5, 1 / 5)
    x = [found.x[0]]
    for r in range(1, 31):
        server = share @ x[-1]
        clients = []
        for i in range(5):
            z, y = rows_of(i, int(sizes[i]))
            client = server
            for _ in range(3 if r < 30 else 0):
                client = client - LR * z.T @ (z @ client - y) / len(y)
            clients.append(client)
        x.append(np.stack(clients))
    assert_follows(found, x)
    (weights, *_) = [event["weights"] for event in found.run.events("merge") if event["peer"] == 0]
    assert weights == pytest.approx(share)


@pytest.mark.parametrize("name", ["ring", "full", "irregular", "alternating"])
def test_gossip_steps(tmp_path: Path, name: str) -> None:
    g, steps = graph(name, tmp_path), 3
    found = trajectory(tmp_path, "gossip", g, rounds=17, overrides=f"algorithm.gossip_steps={steps}")
    x = [found.x[0]]
    for r in range(1, 18):
        for k in range(steps):
            mixed = g.w(r) @ x[-1]
            x.append(mixed - (LR * gradients(mixed) if k == steps - 1 and r < 17 else 0))
    assert_follows(found, x)


def test_gossip_keeps_silent_with_the_schedule(tmp_path: Path) -> None:
    found = trajectory(
        tmp_path, "gossip", graph("ring", tmp_path), rounds=4, schedule="every_n",
        overrides="schedule.n=2 algorithm.gossip_steps=3",
    )  # fmt: skip
    assert len(found.x) == 1 + 1 + 3 + 1 + 3
    np.testing.assert_allclose(found.x[1], found.x[0] - LR * gradients(found.x[0]), atol=1e-12)


@pytest.mark.parametrize("variant", ["oracle", "local"])
def test_epidemic(tmp_path: Path, variant: str) -> None:
    g = Graph(6, "ring", "", lambda _: np.eye(6))
    settings = f"algorithm.variant={variant} algorithm.readers=2 seeds.graph=3"
    found = trajectory(tmp_path, "epidemic", g, overrides=settings)
    merges = found.run.events("merge")
    x, graphs = [found.x[0]], set()
    for r in range(1, ROUNDS + 1):
        w = np.eye(6)
        for event in merges:
            if event["round"] == r:
                w[event["peer"], event["sources"]] = 1
        sent = w.sum(axis=0) - 1
        np.testing.assert_array_equal(sent, 2)  # each peer sends to two, none of them itself or twice
        if variant == "oracle":
            np.testing.assert_array_equal(w.sum(axis=1) - 1, 2)
        graphs.add(w.tobytes())
        mixed = w / w.sum(axis=1, keepdims=True) @ x[-1]
        x.append(mixed - (LR * gradients(mixed) if r < ROUNDS else 0))
    assert_follows(found, x)
    assert len(graphs) > 0.8 * ROUNDS, "another graph in every round"


def test_epidemic_needs_enough_peers(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"no peer of 5 has 5 others; lower algorithm\.readers"):
        trajectory(tmp_path, "epidemic", graph("ring", tmp_path), rounds=1, overrides="algorithm.readers=5")


def test_centralized_training_is_gradient_descent_on_all_data(tmp_path: Path) -> None:
    found = trajectory(tmp_path, "centralized", graph("ring", tmp_path), overrides="training.local_steps=2")
    z, y = (np.concatenate(parts) for parts in zip(*(rows_of(i) for i in range(5)), strict=True))
    x = [found.x[0]]
    for r in range(1, ROUNDS + 1):
        local = x[-1]
        for _ in range(2 if r < ROUNDS else 0):
            local = local - LR * (local @ z.T - y) @ z / len(y)
        x.append(local)
    assert_follows(found, x)
    assert found.run.events("merge") == []


def test_centralized_training_is_refused_where_data_stay_with_their_peers(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="need all peers' samples, which only a simulation has"):
        run_app(
            tmp_path, 2, simulation=False, algorithm="centralized", dataset="breast_cancer", model="mlp", rounds=1
        )  # fmt: skip
