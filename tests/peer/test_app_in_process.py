"""Relay and peers together, on real digits, over a grid in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Message
from safetensors.torch import load_file

from dimat_flwr.relay import SetupError
from dimat_flwr.wire import names
from tests.in_process_app import Run, run_app

QUICK = "training.pretrain_epochs=2 training.local_epochs=1 dataset.train_samples=400 model.width=1"


def quick(output: Path, peers: int = 4, overrides: str = "", intercept: Any = None, **run_config: Any) -> Run:
    settings = {"rounds": 2, **run_config}
    return run_app(output, peers, intercept=intercept, overrides=f"{QUICK} {overrides}", **settings)


def means(run: Run, stage: str) -> list[float]:
    return [entry[f"accuracy_{stage}"] for entry in run.summary["rounds"]]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path: Path) -> None:
    first, second = quick(tmp_path / "a"), quick(tmp_path / "b")
    assert first.events() == second.events()
    assert quick(tmp_path / "c", seed=1).events() != first.events()


def test_what_a_run_leaves(tmp_path: Path) -> None:
    run = quick(tmp_path)
    assert run.summary["status"] == "completed"
    assert run.summary["seed"] == 0
    moved = [event["units_moved"] for event in run.events("aligned")]
    assert len(moved) == 16
    assert min(moved) > 0.5, "models from different starts have their units in different orders"
    assert [event["round"] for event in run.events("merge")] == [1] * 4 + [2] * 4
    for event in run.events("merge"):
        assert sum(event["weights"]) == pytest.approx(1)
    before, trained = means(run, "before_merge"), means(run, "after_training")
    assert before[1:] == trained[:-1], "a model that nobody touched measures the same"
    # What a peer saved is the model that its last evaluation measured: all tensors, finite.
    saved = load_file(run.folder / "models" / "peer-3.safetensors")
    assert all(tensor.isfinite().all() for tensor in saved.values())


def test_same_initialization_makes_equal_starts(tmp_path: Path) -> None:
    run = quick(tmp_path, rounds=0, overrides="training.initialization=same training.pretrain_epochs=0")
    models = [load_file(run.folder / "models" / f"peer-{i}.safetensors") for i in range(4)]
    for model in models[1:]:
        assert all(torch.equal(model[name], models[0][name]) for name in model)
    run = quick(tmp_path / "other", rounds=0, overrides="training.pretrain_epochs=0")
    models = [load_file(run.folder / "models" / f"peer-{i}.safetensors") for i in range(2)]
    assert not all(torch.equal(models[1][name], models[0][name]) for name in models[0])


def poison(victim: int, change: Callable[[ArrayRecord], None], when: int = 1) -> Callable[[int, Message], None]:
    """Return an interceptor that breaks the payload a peer publishes with its ``when``-th answer, counted from 0."""
    answers = {"count": -1}

    def intercept(place: int, reply: Message) -> None:
        if place != victim:
            return
        answers["count"] += 1
        if answers["count"] == when:
            change(reply.content.array_records[names.outbox(names.TENSORS)])

    return intercept


def first_name(arrays: ArrayRecord) -> str:
    return next(iter(arrays))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.update({first_name(a): Array(np.full_like(a[first_name(a)].numpy(), np.nan))}), "holds NaN"),
        (lambda a: a.pop(first_name(a)), "missing tensor"),
        (lambda a: a.update(extra=Array(np.zeros(3, np.float32))), "unexpected tensor 'extra'"),
        (lambda a: a.update({first_name(a): Array(np.zeros((2, 2), np.float32))}), "has shape (2, 2) instead of"),
    ],
)
def test_a_bad_payload_is_rejected_recorded_and_done_without(
    tmp_path: Path, change: Callable[[ArrayRecord], None], reason: str
) -> None:
    run = quick(tmp_path, algorithm="weight_averaging", intercept=poison(1, change, when=0))
    rejected = run.events("rejected")
    assert [(event["peer"], event["round"], event["from"]) for event in rejected] == [(0, 1, 1), (2, 1, 1)]
    assert all(reason in event["reason"] for event in rejected)
    merges = {event["peer"]: event for event in run.events("merge") if event["round"] == 1}
    assert merges[0]["neighbours"] == [3]
    assert merges[0]["weights"] == pytest.approx([0.5, 0.5])
    assert merges[3]["weights"] == pytest.approx([1 / 3] * 3)
    assert run.summary["status"] == "completed"
    # The next round is whole again.
    assert all(len(event["neighbours"]) == 2 for event in run.events("merge") if event["round"] == 2)


def test_a_peer_whose_training_raises_is_named_and_the_others_finish(tmp_path: Path) -> None:
    def raises(place: int, reply: Message) -> None:
        if place == 2 and '"round": 2' in str(reply.content.config_records[names.REPORT]):
            raise RuntimeError("out of memory")

    run = quick(tmp_path, rounds=3, intercept=raises)
    (failure,) = run.events("failure")
    assert (failure["peer"], failure["round"]) == (2, 2)
    assert "out of memory" in failure["error"]
    finished = {event["peer"] for event in run.events("training") if event["round"] == 3}
    assert finished == {0, 1, 3}
    assert run.summary["status"] == "completed"


def test_divergence_is_reported_with_its_cause(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="every peer failed"):
        quick(tmp_path, optimizer="sgd", overrides="optimizer.lr=1e30")
    (folder,) = tmp_path.iterdir()
    failures = Run(folder).events("failure")
    assert {event["peer"] for event in failures} == {0, 1, 2, 3}
    assert all("try a lower optimizer.lr" in event["error"] for event in failures)


def test_rounds_without_exchange_move_no_bytes(tmp_path: Path) -> None:
    run = quick(tmp_path, rounds=4, schedule="every_n", overrides="schedule.n=2")
    assert [entry["bytes"] > 0 for entry in run.summary["rounds"]] == [False, False, True, False, True]
    assert {event["round"] for event in run.events("merge")} == {2, 4}


def test_local_only_never_talks(tmp_path: Path) -> None:
    run = quick(tmp_path, algorithm="local_only")
    assert run.summary["bytes_total"] == 0
    assert run.events("merge") == []


@pytest.mark.parametrize("kind", ["uniform", "gossip", "aligned"])
def test_the_final_merge_comes_after_the_last_round(tmp_path: Path, kind: str) -> None:
    run = quick(tmp_path, rounds=1, schedule="none", overrides=f"schedule.final_merge={kind}")
    assert [entry["round"] for entry in run.summary["rounds"]] == [0, 1, 2]
    last = run.summary["rounds"][-1]
    assert last["accuracy_after_training"] is None
    assert last["bytes"] > 0
    if kind != "gossip":
        # Everybody averaged the same models; without alignment (and before recalibration) that is one and the same.
        models = [load_file(run.folder / "models" / f"peer-{i}.safetensors") for i in range(4)]
        weights = [name for name in models[0] if name.endswith("weight")]
        equal = all(torch.allclose(models[0][name], models[1][name], atol=1e-6) for name in weights)
        assert equal == (kind == "uniform")


def test_batchnorm_policies_differ_only_in_the_statistics(tmp_path: Path) -> None:
    policies = {}
    for policy in ("recalibrate", "average", "keep"):
        run = quick(
            tmp_path / policy, rounds=0, algorithm="weight_averaging", schedule="none",
            overrides=f"batchnorm.policy={policy} schedule.final_merge=uniform",
        )  # fmt: skip
        policies[policy] = load_file(run.folder / "models" / "peer-0.safetensors")
    for name, tensor in policies["average"].items():
        if name.endswith("num_batches_tracked"):
            continue
        same = [torch.allclose(tensor, policies[other][name]) for other in ("recalibrate", "keep")]
        assert same == [not name.endswith(("running_mean", "running_var"))] * 2, name


def test_minibatch_steps_continue_where_they_stopped(tmp_path: Path) -> None:
    """Three rounds of 2 local steps without exchange are one round of 6, if the optimizer's moments are kept."""
    settings = {"algorithm": "local_only", "optimizer": "momentum"}
    apart = quick(tmp_path / "a", rounds=3, overrides="training.local_steps=2 training.keep_optimizer=true", **settings)
    together = quick(
        tmp_path / "b", rounds=1, overrides="training.local_steps=6 training.keep_optimizer=true", **settings
    )
    for i in range(4):
        first = load_file(apart.folder / "models" / f"peer-{i}.safetensors")
        second = load_file(together.folder / "models" / f"peer-{i}.safetensors")
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_evaluation_every_second_round(tmp_path: Path) -> None:
    run = quick(tmp_path, rounds=3, overrides="evaluate.every=2")
    assert {event["round"] for event in run.events("evaluation")} == {0, 2, 3}


@pytest.mark.parametrize(
    ("peers", "settings", "reason"),
    [
        (3, {"dataset": "cifar10", "data_dir": "/nowhere"}, "/nowhere"),
        (700, {}, "too few for 700 peers"),
        (3, {"overrides": "training.device=cuda:7"}, "cuda:7"),
    ],
)  # fmt: skip
def test_what_a_peer_lacks_is_said_before_training(
    tmp_path: Path, peers: int, settings: dict[str, Any], reason: str
) -> None:
    overrides = f"{QUICK} {settings.pop('overrides', '')}" if "dataset" not in settings else ""
    with pytest.raises(SetupError, match="nothing was trained") as caught:
        run_app(tmp_path, peers, rounds=1, overrides=overrides, **settings)
    assert reason in str(caught.value)
    assert "every peer" in str(caught.value)


def test_pooled_matching_is_for_simulations_only(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="only a simulation has"):
        quick(tmp_path, overrides="algorithm.matching.match_data=pooled")


def test_the_spec_can_be_proven_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = "training.verify_spec=true"
    assert quick(tmp_path / "true", rounds=0, overrides=asked).summary["status"] == "completed"
    monkeypatch.setattr("dimat_flwr.peer.resources.verify", lambda *_: 0.5)
    with pytest.raises(SetupError, match="change its output by 5"):
        quick(tmp_path / "false", rounds=0, overrides=asked)
