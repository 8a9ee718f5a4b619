"""Algorithms with momentum, trackers and moments against their equations in dense matrices, round by round."""

from pathlib import Path

import numpy as np
import pytest

from dimat_flwr.config import ConfigError
from dimat_flwr.relay import PlanError
from tests.algorithms.trajectories import LR, ROUNDS, assert_follows, gradients, graph, optimum, trajectory

GRAPHS = ["ring", "full", "irregular", "alternating"]


@pytest.mark.parametrize("name", GRAPHS)
def test_cdmsgd(tmp_path: Path, name: str) -> None:
    g = graph(name, tmp_path)
    found = trajectory(tmp_path, "cdmsgd", g, overrides="algorithm.momentum=0.8")
    x, v = [found.x[0]], np.zeros_like(found.x[0])
    for r in range(1, ROUNDS + 1):
        v = 0.8 * v - LR * gradients(x[-1] + 0.8 * v)
        x.append(g.w(r) @ x[-1] + (v if r < ROUNDS else 0))
    assert_follows(found, x)


def test_cdmsgd_of_the_dimat_code(tmp_path: Path) -> None:
    g = graph("irregular", tmp_path)
    decay = 0.05
    settings = f"algorithm.momentum=0.8 algorithm.form=dimat_code optimizer.weight_decay={decay} optimizer.lr=0.05"
    found = trajectory(tmp_path, "cdmsgd", g, overrides=settings, lr_schedule="cosine")
    x, m = [found.x[0]], np.zeros_like(found.x[0])
    for r in range(1, ROUNDS + 1):
        lr = 0.05 * (0.01 + 0.99 * (1 + np.cos(np.pi * r / ROUNDS)) / 2)
        slope = gradients(x[-1]) + decay * x[-1]
        m = 0.8 * m + slope
        x.append(g.w(r) @ x[-1] - (lr * (slope + 0.8 * m) if r < ROUNDS else 0))
    assert_follows(found, x)


@pytest.mark.parametrize("name", ["ring", "full", "metropolis", "alternating"])
def test_gradient_tracking(tmp_path: Path, name: str) -> None:
    g = graph(name, tmp_path)
    found = trajectory(tmp_path, "gradient_tracking", g)
    adapted = [found.x[0]]
    y, before = np.zeros_like(adapted[0]), np.zeros_like(adapted[0])
    for r in range(1, ROUNDS + 1):
        x, y = g.w(r) @ adapted[-1], g.w(r) @ y
        if r < ROUNDS:
            y, before = y + gradients(x) - before, gradients(x)
            np.testing.assert_allclose(found.slot("tracker", r).sum(axis=0), before.sum(axis=0), atol=1e-10)
        adapted.append(x - (LR * y if r < ROUNDS else 0))
    assert_follows(found, adapted)


@pytest.mark.slow
def test_gradient_tracking_finds_the_optimum_of_all_where_cdsgd_does_not(tmp_path: Path) -> None:
    g = graph("ring", tmp_path)
    best = optimum(g.peers)
    tracked = trajectory(tmp_path / "1", "gradient_tracking", g, rounds=340)
    plain = trajectory(tmp_path / "2", "cdsgd", g, rounds=200)  # stays so from 120 on
    assert np.abs(tracked.x[-1] - best).max() < 1e-6
    assert np.abs(plain.x[-1] - best).max() > 0.1


def test_gradient_tracking_needs_a_doubly_stochastic_matrix(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"rows and columns sum to 1; set topology\.weighting"):
        trajectory(tmp_path, "gradient_tracking", graph("irregular", tmp_path), rounds=2)


@pytest.mark.parametrize("name", GRAPHS)
def test_qg_dsgdm(tmp_path: Path, name: str) -> None:
    g = graph(name, tmp_path)
    found = trajectory(tmp_path, "qg_dsgdm", g, overrides="algorithm.momentum=0.8 algorithm.decay=0.7")
    adapted, m, before = [found.x[0]], np.zeros_like(found.x[0]), None
    for r in range(1, ROUNDS + 1):
        x = g.w(r) @ adapted[-1]
        if before is not None:
            m = 0.7 * m + 0.3 * (before - x) / LR
        before = x
        adapted.append(x - (LR * (gradients(x) + 0.8 * m) if r < ROUNDS else 0))
    assert_follows(found, adapted)


def test_qg_dsgdm_spreads_its_momentum_over_several_local_steps(tmp_path: Path) -> None:
    g = graph("ring", tmp_path)
    found = trajectory(tmp_path, "qg_dsgdm", g, rounds=20, overrides="training.local_steps=3 optimizer.lr=0.05")
    adapted, m, before = [found.x[0]], np.zeros_like(found.x[0]), None
    for r in range(1, 21):
        x = g.w(r) @ adapted[-1]
        if before is not None:
            m = 0.9 * m + 0.1 * (before - x) / (0.05 * 3)
        before = local = x
        for _ in range(3 if r < 20 else 0):
            local = local - 0.05 * (gradients(local) + 0.9 * m)
        adapted.append(local)
    assert_follows(found, adapted)


@pytest.mark.parametrize("name", GRAPHS)
def test_damsgrad(tmp_path: Path, name: str) -> None:
    g, eps = graph(name, tmp_path), 0.01
    overrides = f"algorithm.eps={eps} algorithm.betas=[0.9,0.95]"
    found = trajectory(tmp_path, "damsgrad", g, overrides=overrides)
    x, zero = [found.x[0]], np.zeros_like(found.x[0])
    m, v, largest, tracked = zero, zero, zero + eps, zero + eps
    for r in range(1, ROUNDS + 1):
        slope = gradients(x[-1])
        m, v = 0.9 * m + 0.1 * slope, 0.95 * v + 0.05 * slope**2
        before, largest = largest, np.maximum(largest, v)
        mixed, tracked = g.w(r) @ x[-1], g.w(r) @ tracked
        x.append(mixed - (LR * m / np.sqrt(np.maximum(tracked, eps)) if r < ROUNDS else 0))
        tracked = tracked - before + largest
    assert_follows(found, x)


@pytest.mark.parametrize("algorithm", ["cdmsgd", "gradient_tracking", "qg_dsgdm", "damsgrad"])
def test_an_optimizer_that_would_be_ignored_is_refused(tmp_path: Path, algorithm: str) -> None:
    with pytest.raises(ConfigError, match=f"'{algorithm}' has a step of its own"):
        trajectory(tmp_path, algorithm, graph("ring", tmp_path), rounds=1, optimizer="momentum")
