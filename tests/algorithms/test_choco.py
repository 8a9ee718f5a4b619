"""CHOCO-SGD against its equations, with a compressor written once more in numpy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from dimat_flwr.component import STRICT
from dimat_flwr.data import Dataset, DataSource, Task
from tests.algorithms.quadratics import Squares
from tests.algorithms.trajectories import LR, ROUNDS, assert_follows, gradients, graph, ring, trajectory
from tests.in_process_app import run_app

PEERS, SIDE = 5, 20
SIZE = SIDE * SIDE
Vector = NDArray[np.float64]


class Distances(Squares):
    """Half the mean squared distance, so that the gradient of peer i is x - c_i."""

    def loss(self, scores: Tensor, labels: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        total = scores.square().sum() / 2
        return total / len(labels) if reduction == "mean" else total

    def check_scores(self, shape: Sequence[int], samples: int) -> None:
        assert tuple(shape) == (samples, SIZE)


def centre(peer: int) -> Vector:
    return np.random.default_rng([3, peer]).normal(size=SIZE) + peer


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Centres(DataSource):
    """Two rows c_i for each peer i, whose number is their label."""

    num_classes: int = PEERS

    @property
    def task(self) -> Task:
        return Distances(self.num_classes)

    def example_input(self, samples: int = 2) -> Tensor:
        return torch.zeros(samples, SIZE, dtype=torch.float64)

    def check(self) -> None:
        pass

    def read(self) -> Dataset:
        labels = torch.arange(PEERS).repeat_interleave(2)
        inputs = torch.from_numpy(np.stack([centre(int(label)) for label in labels]))
        return Dataset(inputs, labels, inputs, labels)


class Point(nn.Module):
    """x - c for rows c, with x a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.randn(SIDE, SIDE, dtype=torch.float64))

    def forward(self, rows: Tensor) -> Tensor:
        return self.x.flatten() - rows


def ends(folder: Path, algorithm: str, rounds: int, lr: float, overrides: str, **run_config: Any) -> Vector:
    """Return every peer's x after a run on a ring, (N, SIZE)."""
    here = "tests.algorithms.test_choco"
    settings = (
        f"dataset._target_={here}.Centres model._target_={here}.Point training.pretrain_epochs=0 "
        f"training.local_steps=1 training.batch_size=100 evaluate.every=1000 optimizer.lr={lr} {overrides}"
    )
    run = run_app(
        folder, PEERS, algorithm=algorithm, rounds=rounds, optimizer="sgd", partition="classes", overrides=settings,
        **run_config,
    )  # fmt: skip
    assert run.events("rejected") == []
    return np.stack([run.model(peer)["x"].double().numpy().ravel() for peer in range(PEERS)])


def largest(d: Vector, k: int) -> Vector:
    """Return d at its k largest entries as bfloat16, 0 elsewhere."""
    kept = np.zeros_like(d)
    places = np.argsort(-np.abs(d.astype(np.float32)))[:k]
    bits = d[places].astype(np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16  # to the nearest, ties to even
    kept[places] = bits.astype(np.uint32).view(np.float32)
    return kept


def choco(x: Vector, rounds: int, lr: float, gamma: float, share: float) -> Vector:
    """Algorithm 2 with top-k; the first message is whole."""
    w, centres = ring(PEERS), np.stack([centre(i) for i in range(PEERS)])
    known = np.zeros_like(x)
    for r in range(rounds):
        if r == 0:
            known = x.astype(np.float32).astype(np.float64)
        else:
            difference = x.astype(np.float32) - known.astype(np.float32)
            said = np.stack([largest(d.astype(np.float64), int(np.ceil(share * SIZE))) for d in difference])
            known = (known.astype(np.float32) + said.astype(np.float32)).astype(np.float64)
        x = x + gamma * (w @ known - known)
        if r < rounds - 1:
            x = x - lr * (x - centres)
    return x


@pytest.mark.parametrize("name", ["ring", "full", "irregular", "alternating"])
def test_without_compression_it_is_averaging_by_a_step_of_gamma(tmp_path: Path, name: str) -> None:
    g = graph(name, tmp_path)
    found = trajectory(tmp_path, "choco", g, overrides="algorithm.gamma=0.4")
    x = [found.x[0]]
    for r in range(1, ROUNDS + 1):
        mixed = x[-1] + 0.4 * (g.w(r) @ x[-1] - x[-1])
        x.append(mixed - (LR * gradients(mixed) if r < ROUNDS else 0))
    assert_follows(found, x)
    recorded = np.zeros((g.peers, g.peers))
    for event in found.run.events("merge"):
        if event["round"] == ROUNDS:
            recorded[event["peer"], [event["peer"], *event["sources"]]] = event["weights"]
    np.testing.assert_allclose(recorded @ x[-2], x[-1], atol=1e-9)


@pytest.mark.parametrize("lr", [0.05, 1e-300])
def test_top_k_follows_the_equations(tmp_path: Path, lr: float) -> None:
    start = ends(tmp_path / "0", "choco", 0, lr, "training.local_steps=1")
    found = ends(tmp_path / "1", "choco", 60, lr, "algorithm.gamma=0.1 codec.share=0.05", codec="top_k")
    expected = choco(start, 60, lr, 0.1, 0.05)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert np.abs(found - start).max() > 0.5


@pytest.mark.slow
def test_one_percent_reaches_the_mean_where_naive_averaging_does_not(tmp_path: Path) -> None:
    start = ends(tmp_path / "0", "choco", 0, 1e-300, "")
    mean = start.mean(axis=0)
    settings = "codec.share=0.01 codec.whole_every=100000"
    found = ends(tmp_path / "1", "choco", 450, 1e-300, settings, codec="top_k")
    naive = ends(tmp_path / "2", "weight_averaging", 450, 1e-300, settings, codec="top_k")
    spread = np.linalg.norm(start - mean)
    np.testing.assert_allclose(found.mean(axis=0), mean, atol=1e-9)
    assert np.linalg.norm(found - mean) < 0.02 * spread
    assert np.linalg.norm(naive - mean) > 0.2 * spread
    assert np.linalg.norm(naive.mean(axis=0) - mean) > 1, "it moved the mean"
