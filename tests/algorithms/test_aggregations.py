"""Aggregations through the whole relay and peer: with every algorithm that averages, and refused with the others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import RecordDict
from safetensors.torch import load

from dimat_flwr.algorithms.registry import available_algorithms
from dimat_flwr.config import ConfigError
from dimat_flwr.relay import PlanError
from dimat_flwr.wire import names
from dimat_flwr.wire.payload import Payload, from_record, pack, to_record
from tests.algorithms.test_frames import PEERS, Models, furthest, run, start  # noqa: F401 - a fixture
from tests.algorithms.trajectories import LR, QUADRATICS, Vector, assert_follows, flat, gradients, graph, trajectory
from tests.in_process_app import ROOT, Run, run_app

AVERAGING = [
    "weight_averaging", "cdsgd", "cdmsgd", "qg_dsgdm", "gossip", "epidemic", "fedavg", "aligned_averaging",
    "weight_matching", "dimat",
]  # fmt: skip
OTHERS = ["sgp", "relaysgd", "choco", "cga", "damsgrad", "gradient_tracking", "local_only", "centralized"]
SETTINGS = {"epidemic": "algorithm.readers=3", "fedavg": "algorithm.weighting=uniform"}
LIAR = 3


def test_every_algorithm_is_one_or_the_other() -> None:
    assert sorted(AVERAGING + OTHERS) == sorted(available_algorithms(ROOT / "conf"))


def trimmed(x: Vector) -> Vector:
    """Return for each of 4 peers the mean of the middle two."""
    return np.tile(np.sort(x, axis=0)[1:3].mean(axis=0), (len(x), 1))


def clipped(x: Vector, tau: float) -> Vector:
    """Return for each of 4 peers where self-centred clipping takes it."""
    steps = x[None] - x[:, None]
    away = np.linalg.norm(steps[..., [0, 1, 0, 1, 2]], axis=2, keepdims=True)  # the slope has two names
    return x + (steps * np.minimum(1, tau / np.maximum(away, 1e-300))).sum(axis=1) / len(x)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["weight_averaging", "cdsgd", "cdmsgd"])
@pytest.mark.parametrize("rule", ["trimmed_mean", "clip"])
def test_an_algorithm_follows_its_equation_with_another_aggregation(tmp_path: Path, rule: str, algorithm: str) -> None:
    rounds = 8
    overrides = "aggregation.tau=0.5" if rule == "clip" else ""
    overrides += " algorithm.momentum=0.5 algorithm.form=dimat_code" if algorithm == "cdmsgd" else ""
    found = trajectory(
        tmp_path, algorithm, graph("full", tmp_path), rounds=rounds, aggregation=rule, overrides=overrides
    )
    x, m = [found.x[0]], np.zeros_like(found.x[0])
    for r in range(1, rounds + 1):
        mixed = trimmed(x[-1]) if rule == "trimmed_mean" else clipped(x[-1], 0.5)
        at = mixed if algorithm == "weight_averaging" else x[-1]
        g = gradients(at)
        if algorithm == "cdmsgd":
            m = 0.5 * m + g
            g = g + 0.5 * m
        x.append(mixed - (LR * g if r < rounds else 0))
    assert_follows(found, x)


def lying(peer: int, kind: str, reply: RecordDict) -> RecordDict:
    """Let peer ``LIAR`` publish a model that is a million away from its own."""
    if peer == LIAR and names.outbox(None) in reply:
        tensors = load(from_record(reply[names.outbox(None)]))
        moved = {key: tensor + 1e6 if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
        # FedAvg with uniform weights sends how many samples there are all the same.
        numbers = {"samples": 4.0} if "fedavg" in str(lying.algorithm) else {}  # type: ignore[attr-defined]
        reply[names.outbox(None)] = to_record(pack(Payload(moved, numbers)))
    return reply


def attacked(folder: Path, algorithm: str, rule: str, **settings: Any) -> tuple[Run, float]:
    """Return a run of four peers, one of whom lies, and how far from 0 the honest ones end."""
    lying.algorithm = algorithm  # type: ignore[attr-defined]
    overrides = f"{QUADRATICS} dataset.num_classes=4 optimizer.lr={LR} {SETTINGS.get(algorithm, '')}"
    found = run_app(
        folder, 4, algorithm=algorithm, topology="fully_connected", partition="classes", optimizer="sgd",
        aggregation=rule, intercept=lying, overrides=overrides, **({"rounds": 2} | settings),
    )  # fmt: skip
    assert found.summary["status"] == "completed", found.events("failure")
    return found, max(float(np.abs(flat(found.model(peer))).max()) for peer in range(LIAR))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", AVERAGING)
def test_a_liar_decides_the_mean_and_not_the_median(tmp_path: Path, algorithm: str) -> None:
    assert attacked(tmp_path / "mean", algorithm, "mean")[1] > 1e5
    found, furthest_off = attacked(tmp_path / "median", algorithm, "median")
    assert furthest_off < 100
    merges = [event for event in found.events("merge") if event["peer"] != LIAR]
    assert len(merges) == 3 * 2
    for event in merges:
        weights = dict(zip(event["sources"], event["weights"][1:], strict=True))
        assert weights[LIAR] == 0, "in every coordinate it was the largest"
        assert sum(event["weights"]) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("final_merge", ["uniform", "gossip", "aligned"])
def test_a_final_merge_is_guarded_too(tmp_path: Path, final_merge: str) -> None:
    settings = {"schedule": "none", "final_merge": final_merge, "rounds": 1}
    assert attacked(tmp_path / "mean", "weight_averaging", "mean", **settings)[1] > 1e5
    assert attacked(tmp_path / "median", "weight_averaging", "median", **settings)[1] < 100


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["weight_matching", "dimat"])
def test_models_are_aligned_before_they_are_aggregated(tmp_path: Path, start: Models, algorithm: str) -> None:  # noqa: F811
    _, models = run(tmp_path / "run", algorithm, topology="fully_connected", aggregation="median")
    assert max(furthest(before, after) for before, after in zip(start, models, strict=True)) < 1e-6
    _, models = run(tmp_path / "plain", "weight_averaging", topology="fully_connected", aggregation="median")
    assert max(furthest(before, after) for before, after in zip(start, models, strict=True)) > 0.1


@pytest.mark.parametrize("algorithm", OTHERS)
def test_what_does_not_average_models_is_refused_with_its_reason(tmp_path: Path, algorithm: str) -> None:
    with pytest.raises(ConfigError, match=f"algorithm '{algorithm}' goes with no other aggregation than the mean"):
        run_app(tmp_path, PEERS, algorithm=algorithm, aggregation="median", overrides="training.local_steps=1")
    assert not any(tmp_path.iterdir())


def test_settings_that_go_with_the_mean_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"set algorithm\.weighting=uniform"):
        run_app(tmp_path, PEERS, algorithm="fedavg", aggregation="clip")
    with pytest.raises(ConfigError, match=r"matching\.repair"):
        run_app(
            tmp_path, PEERS, algorithm="dimat", dataset="breast_cancer", model="mlp", aggregation="median",
            overrides="model.batchnorm=false algorithm.matching.repair=true",
        )  # fmt: skip


def test_a_graph_on_which_a_peer_has_too_few_neighbours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="exchange 'merge' peer 0 has 2 neighbours, where Krum needs 4"):
        run_app(tmp_path, PEERS, algorithm="weight_averaging", topology="ring", aggregation="krum")
    with pytest.raises(PlanError, match="final merge: in exchange 'final_merge' peer 0 has 3 neighbours"):
        run_app(
            tmp_path, 4, algorithm="weight_averaging", schedule="none", rounds=1, final_merge="uniform",
            aggregation="krum",
        )  # fmt: skip


@pytest.mark.slow
def test_a_peer_whom_absence_leaves_too_few_neighbours_keeps_its_model(tmp_path: Path) -> None:
    g = graph("ring", tmp_path)
    found = trajectory(tmp_path, "weight_averaging", g, rounds=4, lost=[(1, 2)], aggregation="trimmed_mean")
    notes = [event for event in found.run.events("note") if event["name"] == "aggregation"]
    assert [(event["round"], event["peer"]) for event in notes] == [(2, 0), (2, 2)]
    assert notes[0]["values"] == {"kept_own_model": "1 neighbours, where TrimmedMean needs 2"}
    kept = found.x[1] - LR * gradients(found.x[1])
    np.testing.assert_allclose(found.x[2][[0, 2]], kept[[0, 2]], rtol=0, atol=1e-12)
    assert np.abs(found.x[2][[3, 4]] - kept[[3, 4]]).min() > 1e-3, "the others went on"
    merges = {event["peer"]: event for event in found.run.events("merge") if event["round"] == 2}
    assert merges[0]["weights"] == [1.0, 0.0]
