"""Cross-gradient aggregation against its equations; the quadratic programme is solved by trying all active sets."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import RecordDict

from dimat_flwr.algorithms.cga import project
from dimat_flwr.config import ConfigError
from dimat_flwr.relay import PlanError
from dimat_flwr.wire import names
from tests.algorithms.trajectories import LR, ROUNDS, Vector, assert_follows, gradient, gradients, graph, trajectory
from tests.in_process_app import run_app

BETA = 0.5


def solve(rows: Vector, g: Vector, at_least: float = 0.0) -> Vector:
    """Return the u >= at_least that minimizes 1/2 u'GG'u + g'G'u: the best of all stationary points on any face."""
    q, p = rows @ rows.T, rows @ g
    best, least = np.full(len(rows), at_least), np.inf
    for size in range(len(rows) + 1):
        for free in map(list, combinations(range(len(rows)), size)):
            u = np.full(len(rows), at_least)
            if free:
                bound = [k for k in range(len(rows)) if k not in free]
                right = -p[free] - q[np.ix_(free, bound)] @ u[bound]
                u[free] = np.linalg.lstsq(q[np.ix_(free, free)], right, rcond=None)[0]
            value = u @ q @ u / 2 + p @ u
            if (u >= at_least - 1e-12).all() and value < least - 1e-13:
                best, least = u, value
    return best


def test_rows_for_which_no_step_is_found_are_the_fault_of_their_senders(monkeypatch: pytest.MonkeyPatch) -> None:
    def gives_up(*_: Any) -> None:
        raise RuntimeError("Maximum number of iterations reached.")  # as it does with rows of 1e-30 beside some of 1e30

    monkeypatch.setattr("scipy.optimize.nnls", gives_up)
    with pytest.raises(ArithmeticError, match="Maximum number of iterations"):
        project({"w": torch.ones(2)}, [{"w": torch.ones(2)}])


@pytest.mark.parametrize("name", ["ring", "full", "metropolis", "alternating"])
def test_cga(tmp_path: Path, name: str) -> None:
    g = graph(name, tmp_path)
    found = trajectory(tmp_path, "cga", g, overrides=f"algorithm.momentum={BETA}")
    after = [found.x[0]]
    v, active = np.zeros_like(after[0]), 0
    for r in range(1, ROUNDS + 1):
        w, x = g.w(r), after[-1]
        along = []
        for i in range(g.peers):
            rows = np.array([gradient(j, x[i]) for j in range(g.peers) if j != i and w[i, j]])
            u = solve(rows, gradient(i, x[i]))
            active += int((u > 1e-9).sum())
            along.append(rows.T @ u + gradient(i, x[i]))
            assert (rows @ along[-1] > -1e-8).all(), "nobody's loss grows"
        v = BETA * v - LR * np.array(along)
        after += [w @ x, w @ x + (v if r < ROUNDS else 0)]
    assert active > 20, "the programme must have had something to do"
    assert_follows(found, after, atol=1e-8)


@pytest.mark.parametrize("name", ["ring", "metropolis"])
def test_cga_of_the_dimat_code(tmp_path: Path, name: str) -> None:
    g = graph(name, tmp_path)
    lr, decay = 0.02, 0.1
    overrides = f"algorithm.momentum={BETA} algorithm.form=dimat_code optimizer.lr={lr} optimizer.weight_decay={decay}"
    found = trajectory(tmp_path, "cga", g, overrides=overrides)
    after = [found.x[0]]
    m, active, w = np.zeros_like(after[0]), 0, g.w(1)
    for r in range(1, ROUNDS + 1):
        x, along = after[-1], np.zeros_like(after[0])
        for i in range(g.peers):
            own = w[i, i] * (gradient(i, x[i]) + decay * x[i])
            others = [j for j in range(g.peers) if j != i and w[i, j]]
            rows = np.array([w[i, j] * (gradient(j, x[i]) + decay * x[i]) for j in others])
            for tensor in (slice(0, 2), slice(2, 3)):
                u = solve(rows[:, tensor], own[tensor], at_least=0.5)
                active += int((u > 0.5 + 1e-9).sum())
                along[i, tensor] = rows[:, tensor].T @ u + own[tensor]
        m = BETA * m + along
        after += [w @ x, w @ x - (lr * (along + BETA * m) if r < ROUNDS else 0)]
    assert active > 20
    assert_follows(found, after, atol=1e-7)


def test_the_neighbours_return_gradients_at_my_model_on_their_data(tmp_path: Path) -> None:
    g = graph("ring", tmp_path)
    found = trajectory(tmp_path, "cga", g, rounds=2)
    for i, states in enumerate(found.states):
        for j in ((i - 1) % 5, (i + 1) % 5):
            slot = states[1].slots[f"answer to {j}"]
            answer = np.concatenate([slot["slope"].numpy(), slot["offset"].numpy()])
            np.testing.assert_allclose(answer, gradient(i, found.x[0][j]), atol=1e-12)
    own = found.slot("own", 1)
    np.testing.assert_allclose(own, gradients(found.x[0]), atol=1e-12)


def test_what_cga_would_ignore_or_cannot_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="links that go both ways"):
        trajectory(tmp_path, "cga", graph("irregular", tmp_path), rounds=2)
    with pytest.raises(ConfigError, match=r"'cga' takes one minibatch a round .* set training\.local_steps=1"):
        trajectory(tmp_path, "cga", graph("ring", tmp_path), rounds=2, overrides="training.local_steps=3")


def test_gradients_of_another_round_are_rejected(tmp_path: Path) -> None:
    """They would be gradients at a model that the reader has left, as a late peer sends them."""
    done, old = 0, RecordDict()

    def replay(peer: int, kind: str, reply: RecordDict) -> RecordDict:
        nonlocal done, old
        if peer != 1 or kind != names.EXCHANGE_MESSAGE:
            return reply
        done += 1
        if done == 2:  # after the models of round 1: what it publishes are gradients
            old = reply
        if done == 4:
            return RecordDict({**dict(old), names.REPORT: reply[names.REPORT]})
        return reply

    run = run_app(
        tmp_path, 3, algorithm="cga", dataset="breast_cancer", model="mlp", rounds=3, intercept=replay,
        overrides="training.pretrain_epochs=1",
    )  # fmt: skip
    rejected = [(event["round"], event["exchange"], event["peer"], event["source"]) for event in run.events("rejected")]
    assert rejected == [(2, "gradients", 0, 1), (2, "gradients", 2, 1)]
    assert run.summary["status"] == "completed"
