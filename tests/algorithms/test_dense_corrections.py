"""Corrections of local training against their equations, and SCAFFOLD against its own, with a server."""

from pathlib import Path

import numpy as np
import pytest

from dimat_flwr.config import ConfigError
from dimat_flwr.relay import PlanError
from tests.algorithms.trajectories import (
    LR,
    ROUNDS,
    Vector,
    assert_follows,
    gradient,
    gradients,
    graph,
    optimum,
    trajectory,
)

H = 3
STEPS = f"training.local_steps={H}"


@pytest.mark.parametrize("name", ["ring", "full", "irregular"])
def test_proximal(tmp_path: Path, name: str) -> None:
    g = graph(name, tmp_path)
    found = trajectory(
        tmp_path, "weight_averaging", g, correction="proximal", overrides=f"{STEPS} correction.mu=0.7"
    )  # fmt: skip
    x = [found.x[0]]
    for r in range(1, ROUNDS + 1):
        start = local = g.w(r) @ x[-1]
        for _ in range(H if r < ROUNDS else 0):
            local = local - LR * (gradients(local) + 0.7 * (local - start))
        x.append(local)
    assert_follows(found, x)


@pytest.mark.parametrize("algorithm", ["fedavg", "weight_averaging"])
def test_scaffold_without_a_server_is_scaffold(tmp_path: Path, algorithm: str) -> None:
    """Algorithm 1 of the paper with option II, all clients in each round, and a server step of 1."""
    g = graph("full", tmp_path)
    found = trajectory(tmp_path, algorithm, g, correction="scaffold", overrides=STEPS)
    clients, server = np.zeros((4, 3)), np.zeros(3)
    x = [found.x[0]]
    for r in range(1, ROUNDS + 1):
        start = x[-1].mean(axis=0)
        trained, fresh = [], []
        for i in range(4):
            y = start
            for _ in range(H if r < ROUNDS else 0):
                y = y - LR * (gradient(i, y) - clients[i] + server)
            trained.append(y)
            fresh.append(clients[i] - server + (start - y) / (H * LR))
        clients = np.array(fresh)
        server = clients.mean(axis=0)
        x.append(np.array(trained))
    assert_follows(found, x)


def led(x: Vector, w: Vector, rounds: int) -> list[Vector]:
    """Return local exact diffusion as its paper writes it: x <- W phi, y <- y + phi - x, beta = 1 / H."""
    found, y, phi = [x], np.zeros_like(x), None
    for r in range(1, rounds + 1):
        x = w @ found[-1]
        y = y if phi is None else y + phi - x
        phi = x
        for _ in range(H if r < rounds else 0):
            phi = phi - LR * gradients(phi) - y / H
        found.append(phi)
    return found


@pytest.mark.parametrize("name", ["ring", "metropolis"])
def test_scaffold_along_a_graph_is_local_exact_diffusion(tmp_path: Path, name: str) -> None:
    g = graph(name, tmp_path)
    found = trajectory(tmp_path, "weight_averaging", g, correction="scaffold", overrides=STEPS)
    assert_follows(found, led(found.x[0], g.w(1), ROUNDS))


@pytest.mark.slow
def test_scaffold_finds_the_optimum_of_all_where_local_steps_alone_do_not(tmp_path: Path) -> None:
    g = graph("ring", tmp_path)
    corrected = trajectory(tmp_path / "1", "gossip", g, rounds=120, correction="scaffold", overrides=STEPS)
    plain = trajectory(tmp_path / "2", "gossip", g, rounds=120, overrides=STEPS)  # stays so from 40 on
    assert np.abs(corrected.x[-1] - optimum(5)).max() < 1e-6
    assert np.abs(plain.x[-1] - optimum(5)).max() > 0.1


def test_silent_rounds_teach_scaffold_nothing(tmp_path: Path) -> None:
    found = trajectory(
        tmp_path, "weight_averaging", graph("ring", tmp_path), rounds=5, correction="scaffold", schedule="none",
        overrides=STEPS,
    )  # fmt: skip
    assert np.abs(found.slot("correction/h", 4)).max() < 1e-12


def test_corrections_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    g = graph("ring", tmp_path)
    with pytest.raises(ConfigError, match="'gradient_tracking' has a step of its own, in which correction 'scaffold'"):
        trajectory(tmp_path, "gradient_tracking", g, correction="scaffold")
    with pytest.raises(ConfigError, match="which it is not with optimizer 'momentum'; choose optimizer: sgd"):
        trajectory(tmp_path, "gossip", g, correction="scaffold", optimizer="momentum")


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [("gossip", "irregular"), ("gossip", "alternating"), ("sgp", "irregular columns"), ("epidemic", "ring")],
)
def test_scaffold_is_refused_where_it_would_drift(tmp_path: Path, algorithm: str, name: str) -> None:
    g = graph(name, tmp_path)
    with pytest.raises(PlanError, match="correction 'scaffold' needs a mixing matrix that is symmetric and the same"):
        trajectory(tmp_path, algorithm, g, correction="scaffold", overrides=STEPS)


def test_scaffold_is_refused_where_old_models_are_merged(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'relaysgd' merges old ones too; choose correction: none or proximal"):
        trajectory(tmp_path, "relaysgd", graph("tree", tmp_path), correction="scaffold", overrides=STEPS)
