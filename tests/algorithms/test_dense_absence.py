"""What is done without payloads that do not arrive, and without peers that fail, in dense matrices."""

from pathlib import Path

import numpy as np
import pytest

from dimat_flwr.algorithms.registry import available_algorithms
from tests.algorithms.test_dense_cga import solve
from tests.algorithms.trajectories import (
    LR,
    TREE,
    Graph,
    Vector,
    assert_follows,
    gradient,
    gradients,
    graph,
    ring,
    trajectory,
)
from tests.in_process_app import ROOT

R = 12
LOST = [(1, 4), (3, 7)]  # what peer 1 published for exchange 4, and peer 3 for exchange 7


def without(w: Vector, r: int) -> Vector:
    """Return W of a round without what was lost, nothing put in its place."""
    w = w.copy()
    for peer, exchange in LOST:
        if exchange == r:
            w[:, peer] = np.where(np.arange(len(w)) == peer, w[:, peer], 0)
    return w


def test_rows_are_scaled(tmp_path: Path) -> None:
    g = graph("ring", tmp_path)
    found = trajectory(tmp_path, "cdsgd", g, rounds=R, lost=LOST)
    x = [found.x[0]]
    for r in range(1, R + 1):
        w = without(g.w(r), r)
        x.append(w / w.sum(axis=1, keepdims=True) @ x[-1] - (LR * gradients(x[-1]) if r < R else 0))
    assert_follows(found, x)


def test_push_sum_loses_the_mass(tmp_path: Path) -> None:
    g = graph("irregular columns", tmp_path)
    found = trajectory(tmp_path, "sgp", g, rounds=R, lost=LOST)
    x, w = found.x[0], np.ones((4, 1))
    z = [x]
    for r in range(1, R + 1):
        p = without(g.w(r), r)
        x, w = p @ x, p @ w
        x = x - (LR * gradients(x / w) if r < R else 0)
        z.append(x / w)
    assert_follows(found, z)
    assert w.sum() < 4 - 0.1


def test_a_tracker_keeps_what_a_neighbour_would_have_weighed(tmp_path: Path) -> None:
    g = graph("metropolis", tmp_path)
    found = trajectory(tmp_path, "gradient_tracking", g, rounds=R, lost=LOST)
    adapted = [found.x[0]]
    y, before = np.zeros_like(adapted[0]), np.zeros_like(adapted[0])
    for r in range(1, R + 1):
        w = without(g.w(r), r)
        w += np.diag(1 - w.sum(axis=1))
        x, y = w @ adapted[-1], w @ y
        if r < R:
            y, before = y + gradients(x) - before, gradients(x)
        adapted.append(x - (LR * y if r < R else 0))
    assert_follows(found, adapted)


@pytest.mark.parametrize("fails", [False, True])
def test_relay_sums_go_on_with_the_last_ones(tmp_path: Path, fails: bool) -> None:
    g = graph("tree", tmp_path)
    lost = [(3, -7)] if fails else LOST  # peer 3 is between 4 and the others
    found = trajectory(tmp_path, "relaysgd", g, rounds=R, lost=lost)
    near: dict[int, list[int]] = {i: [b if a == i else a for a, b in TREE if i in (a, b)] for i in range(5)}
    last: dict[tuple[int, int], tuple[Vector, float]] = {}  # (from, to) -> sum and count as the reader knows them
    x = [found.x[0]]
    for r in range(1, R + 1):
        gone = {3} if fails and r >= 7 else set()
        sent = {
            (i, j): (
                x[-1][i] + sum(last[k, i][0] for k in near[i] if k != j and (k, i) in last),
                1 + sum(last[k, i][1] for k in near[i] if k != j and (k, i) in last),
            )
            for i in range(5)
            for j in near[i]
        }
        for (i, j), message in sent.items():
            if i in gone:
                last.pop((i, j), None)
            elif (i, r) not in lost:
                last[i, j] = message
        mean = np.full_like(x[0], np.nan)
        for i in set(range(5)) - gone:
            total = x[-1][i] + sum(last[k, i][0] for k in near[i] if (k, i) in last)
            mean[i] = total / (1 + sum(last[k, i][1] for k in near[i] if (k, i) in last))
        x.append(mean - (LR * gradients(mean) if r < R else 0))
    assert np.isnan(x[-1]).any() == fails
    np.testing.assert_allclose(found.x[: len(x)], x, rtol=0, atol=1e-9)


def test_cga_does_without_a_gradient(tmp_path: Path) -> None:
    g = graph("ring", tmp_path)
    lost = [(1, 4), (3, 7)]  # peer 1's gradients of round 2, peer 3's model of round 4
    found = trajectory(tmp_path, "cga", g, rounds=R, lost=lost)
    after = [found.x[0]]
    v = np.zeros_like(after[0])
    for r in range(1, R + 1):
        w, x, along = ring(5), after[-1], []
        if r == 4:
            w[[2, 4], 3] = 0
            w /= w.sum(axis=1, keepdims=True)
        for i in range(5):
            others = [j for j in ((i - 1) % 5, (i + 1) % 5) if not (r == 2 and j == 1) and not (r == 4 and i == 3)]
            rows = np.array([gradient(j, x[i]) for j in others]).reshape(-1, 3)
            along.append(rows.T @ solve(rows, gradient(i, x[i])) + gradient(i, x[i]))
        v = 0.9 * v - LR * np.array(along)
        after += [w @ x, w @ x + (v if r < R else 0)]
    assert_follows(found, after, atol=1e-8)


@pytest.mark.parametrize("algorithm", sorted(available_algorithms(ROOT / "conf")))
def test_everybody_else_goes_on_when_a_peer_fails_and_a_payload_is_lost(tmp_path: Path, algorithm: str) -> None:
    silent = algorithm in ("local_only", "centralized")  # nobody publishes anything that could be lost
    star = Graph(5, "star", "", lambda _: np.eye(5))
    found = trajectory(
        tmp_path, algorithm, star if algorithm == "relaysgd" else graph("ring", tmp_path), rounds=8,
        lost=[(2, -5)] if silent else [(1, 3), (2, -5)],
    )  # fmt: skip
    assert found.run.events("failure")[0]["peer"] == 2
    others = [0, 1, 3, 4]
    assert np.isfinite(found.x[:, others]).all()
    assert np.abs(found.x).max(where=np.isfinite(found.x), initial=0) < 1e3
