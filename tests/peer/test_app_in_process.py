"""Relay and peers together, on real digits, in one process."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import RecordDict

from dimat_flwr.local.post import Intercept
from dimat_flwr.peer import caches
from dimat_flwr.peer.learner import Learner
from dimat_flwr.relay import SetupError
from dimat_flwr.wire import names
from dimat_flwr.wire.payload import Payload, from_record, pack, to_record
from tests.in_process_app import Run, run_app

QUICK = "training.pretrain_epochs=2 training.local_epochs=1 dataset.train_samples=400 model.width=1"


def quick(output: Path, peers: int = 4, overrides: str = "", **settings: Any) -> Run:
    return run_app(output, peers, overrides=f"{QUICK} {overrides}", **{"rounds": 2, **settings})


def means(run: Run, stage: str) -> list[float]:
    return [entry[f"accuracy_{stage}"] for entry in run.summary["rounds"]]


@pytest.mark.slow
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
    # A run ends with a merge, and what it ends with is what was saved and measured.
    assert means(run, "after_training")[-1] is None
    assert run.summary["final_accuracy"] == means(run, "after_merge")[-1]
    assert all(tensor.isfinite().all() for tensor in run.model(3).values())


@pytest.mark.slow
def test_same_initialization_makes_equal_starts(tmp_path: Path) -> None:
    run = quick(tmp_path, rounds=0, overrides="training.initialization=same training.pretrain_epochs=0")
    models = [run.model(i) for i in range(4)]
    for model in models[1:]:
        assert all(torch.equal(model[name], models[0][name]) for name in model)
    run = quick(tmp_path / "other", rounds=0, overrides="training.pretrain_epochs=0")
    models = [run.model(i) for i in range(2)]
    assert not all(torch.equal(models[1][name], models[0][name]) for name in models[0])


def poison(victim: int, change: Callable[[dict[str, torch.Tensor]], bytes], when: int = 1) -> Intercept:
    """Return an interceptor that replaces what a peer publishes with its ``when``-th answer, counted from 0."""
    answers = {"count": -1}

    def intercept(place: int, kind: str, reply: RecordDict) -> RecordDict:
        if place == victim and kind == names.EXCHANGE_MESSAGE:
            answers["count"] += 1
            if answers["count"] == when:
                blob = from_record(reply[names.outbox(None)])
                reply[names.outbox(None)] = to_record(change(_tensors(blob)))
        return reply

    return intercept


def _tensors(blob: bytes) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    return load(blob)


def _with(tensors: dict[str, torch.Tensor], **changed: torch.Tensor) -> bytes:
    return pack(Payload({**tensors, **changed}))


FIRST = "features.0.weight"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: _with(t, **{FIRST: torch.full_like(t[FIRST], torch.nan)}), "holds NaN"),
        pytest.param(
            lambda t: pack(Payload({k: v for k, v in t.items() if k != FIRST})), "bytes", marks=pytest.mark.slow
        ),
        pytest.param(lambda t: _with(t, extra=torch.zeros(0)), "unexpected tensor 'extra'", marks=pytest.mark.slow),
        pytest.param(lambda t: _with(t, **{FIRST: t[FIRST].reshape(-1)}), "has shape", marks=pytest.mark.slow),
        pytest.param(lambda t: pack(Payload(t, {"w": 1.0})), "unexpected number 'w'", marks=pytest.mark.slow),
        pytest.param(lambda t: b"", "bytes", marks=pytest.mark.slow),
    ],
)
def test_a_bad_payload_is_rejected_recorded_and_done_without(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], bytes], reason: str
) -> None:
    run = quick(tmp_path, algorithm="weight_averaging", intercept=poison(1, change, when=0))
    rejected = run.events("rejected")
    assert [(event["peer"], event["round"], event["source"]) for event in rejected] == [(0, 1, 1), (2, 1, 1)]
    assert all(reason in event["reason"] for event in rejected)
    merges = {event["peer"]: event for event in run.events("merge") if event["round"] == 1}
    assert merges[0]["sources"] == [3]
    assert merges[0]["weights"] == pytest.approx([0.5, 0.5])
    assert merges[3]["weights"] == pytest.approx([1 / 3] * 3)
    assert run.summary["status"] == "completed"
    # The next round is whole again.
    assert [len(event["sources"]) for event in run.events("merge") if event["round"] == 2] == [2] * 4


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["dimat", "weight_averaging", "sgp"])
def test_ruinous_numbers_fail_nobody_but_are_refused(tmp_path: Path, algorithm: str) -> None:
    def ruin(tensors: dict[str, torch.Tensor]) -> bytes:
        numbers = {"w": 1.0} if algorithm == "sgp" else {}
        ruined = {k: torch.full_like(v, 1e38) if v.is_floating_point() else v for k, v in tensors.items()}
        return pack(Payload(ruined, numbers))

    run = quick(tmp_path, algorithm=algorithm, intercept=poison(1, ruin, when=0), overrides="optimizer.lr=0.01")
    assert run.events("failure") == []
    assert {(event["peer"], event["source"]) for event in run.events("rejected")} == {(0, 1), (2, 1)}
    assert run.summary["status"] == "completed"


def test_a_peer_whose_training_raises_is_named_and_the_others_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Learner.train

    def raises(learner: Learner, correct: Any = None, **settings: bool) -> None:
        if (learner.peer, learner.round) == (2, 2):
            raise MemoryError("out of memory")
        train(learner, correct, **settings)

    monkeypatch.setattr(Learner, "train", raises)
    run = quick(tmp_path, rounds=3)
    (failure,) = run.events("failure")
    assert (failure["peer"], failure["round"]) == (2, 2)
    assert "out of memory" in failure["error"]
    assert {event["peer"] for event in run.events("final")} == {0, 1, 3}
    summary = run.summary
    assert summary["status"] == "incomplete"
    assert summary["lost_peers"] == {"2": 2}
    assert summary["final_peers"] == {"reported": 3, "of": 4}


@pytest.mark.slow
def test_divergence_is_reported_with_its_cause(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="every peer failed"):
        quick(tmp_path, optimizer="sgd", overrides="optimizer.lr=1e30")
    (folder,) = tmp_path.iterdir()
    failures = Run(folder).events("failure")
    assert {event["peer"] for event in failures} == {0, 1, 2, 3}
    assert all("try a lower optimizer.lr" in event["error"] for event in failures)


@pytest.mark.slow
def test_rounds_without_exchange_move_no_bytes(tmp_path: Path) -> None:
    run = quick(tmp_path, rounds=4, schedule="every_n", overrides="schedule.n=2")
    assert [entry["bytes"] > 0 for entry in run.summary["rounds"]] == [False, False, True, False, True]
    assert {event["round"] for event in run.events("merge")} == {2, 4}


def test_local_only_never_talks(tmp_path: Path) -> None:
    run = quick(tmp_path, algorithm="local_only")
    assert run.summary["bytes_total"] == 0
    assert run.events("merge") == []


@pytest.mark.slow
def test_batchnorm_policies_differ_only_in_the_statistics(tmp_path: Path) -> None:
    policies = {}
    for policy in ("recalibrate", "average", "keep"):
        run = quick(
            tmp_path / policy, rounds=0, algorithm="weight_averaging", schedule="none",
            final_merge="uniform", overrides=f"batchnorm.policy={policy}",
        )  # fmt: skip
        policies[policy] = run.model(0)
    for name, tensor in policies["average"].items():
        if name.endswith("num_batches_tracked"):
            continue
        same = [torch.allclose(tensor, policies[other][name]) for other in ("recalibrate", "keep")]
        assert same == [not name.endswith(("running_mean", "running_var"))] * 2, name


@pytest.mark.parametrize("steps", ["local_epochs=1", "local_steps=2"])
def test_frozen_statistics_are_those_of_pre_training(tmp_path: Path, steps: str) -> None:
    """Each peer keeps the statistics that it had before the first exchange, while its weights go on."""
    words = f"model.width=1 training.{steps} training.pretrain_epochs=1 batchnorm.policy=keep batchnorm.frozen"
    settings = {"rounds": 2, "algorithm": "weight_averaging"}
    start = quick(tmp_path / "start", overrides=f"{words}=true", **(settings | {"rounds": 0}))
    frozen = quick(tmp_path / "frozen", overrides=f"{words}=true", **settings)
    free = quick(tmp_path / "free", overrides=f"{words}=false", **settings)
    for name, tensor in start.model(0).items():
        same = [torch.equal(tensor, run.model(0)[name]) for run in (frozen, free)]
        if name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert same == [True, False], name
        else:
            assert same == [False, False], name


def test_freezing_is_refused_where_there_is_nothing_to_freeze(tmp_path: Path) -> None:
    frozen = "batchnorm.policy=keep batchnorm.frozen=true"
    with pytest.raises(SetupError, match=r"batchnorm.frozen: model 'mlp' has no BatchNorm with running statistics"):
        quick(tmp_path / "a", dataset="breast_cancer", model="mlp", overrides=f"model.batchnorm=false {frozen}")
    with pytest.raises(SetupError, match=r"batchnorm.frozen: model .* has no BatchNorm with running statistics"):
        quick(tmp_path / "b", overrides=f"model._target_=tests.peer.odd_network.WithoutRunningStatistics {frozen}")


@pytest.mark.slow
def test_minibatch_steps_continue_where_they_stopped(tmp_path: Path) -> None:
    """Three rounds of 2 local steps without exchange are one round of 6: moments and order of minibatches are kept."""
    settings = {"algorithm": "local_only", "optimizer": "momentum"}
    apart = quick(tmp_path / "a", rounds=4, overrides="training.local_steps=2", **settings)
    together = quick(tmp_path / "b", rounds=2, overrides="training.local_steps=6", **settings)
    for i in range(4):
        first, second = apart.model(i), together.model(i)
        assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps", ["training.local_steps=1", pytest.param("training.local_epochs=1", marks=pytest.mark.slow)]
)
def test_looking_changes_nothing(tmp_path: Path, steps: str) -> None:
    """Whether a run is evaluated in every round or at its end alone, it ends with the same models."""
    often = quick(tmp_path / "a", rounds=4, overrides=steps)
    once = quick(tmp_path / "b", rounds=4, overrides=f"{steps} evaluate.every=100")
    assert len(often.events("evaluation")) > len(once.events("evaluation")) > 0
    for i in range(4):
        first, second = often.model(i), once.model(i)
        assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_evaluation_every_second_round(tmp_path: Path) -> None:
    run = quick(tmp_path, rounds=3, overrides="evaluate.every=2")
    assert {event["round"] for event in run.events("evaluation")} == {0, 2, 3}


@pytest.mark.parametrize(
    ("peers", "settings", "reason"),
    [
        (3, {"dataset": "cifar10", "model": "resnet20", "data_dir": "/nowhere"}, "/nowhere"),
        pytest.param(700, {}, "too few for 700 peers", marks=pytest.mark.slow),
        (3, {"overrides": "training.device=cuda:7"}, "cuda:7"),
        (3, {"overrides": "model._target_=os.getcwd"}, "model._target_ 'os.getcwd' cannot be built"),
        (3, {"overrides": "model._target_=no.such.Net"}, "Error loading 'no.such.Net': ModuleNotFoundError("),
        (3, {"overrides": "model._target_=sys.exit"}, "model._target_ 'sys.exit' cannot be built"),
        (3, {"overrides": "model._target_=torch.nn.Identity"}, "does not work with dataset 'digits' (inputs (1, 8, 8)"),
        (3, {"overrides": "model.num_classes=7"}, "it returns (2, 7) for 2 samples"),
        (3, {"overrides": "algorithm.matching.repair=true"}, "matching.repair is for networks without BatchNorm"),
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


@pytest.mark.slow
def test_pooled_matching_is_for_simulations_only(tmp_path: Path) -> None:
    asked = "algorithm.matching.match_data=pooled"
    with pytest.raises(SetupError, match="only a simulation has"):
        quick(tmp_path / "a", overrides=asked, simulation=False)
    local, pooled = quick(tmp_path / "b", rounds=1), quick(tmp_path / "c", rounds=1, overrides=asked)
    assert pooled.events("aligned") != local.events("aligned")


@pytest.mark.slow
def test_symmetries_are_found_and_proven_once_per_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"rounds": 1, "overrides": f"cache_dir={tmp_path / 'cache'} model.width=2"}
    found = []
    find = importlib.import_module("dimat_flwr.symmetry.find").find_permutation_spec
    monkeypatch.setattr(
        "dimat_flwr.symmetry.find.find_permutation_spec", lambda *a, **k: found.append(1) or find(*a, **k)
    )
    first = quick(tmp_path / "first", **settings)
    caches.permutation_spec.cache_clear()  # as in another process
    second = quick(tmp_path / "second", **settings)
    assert found == [1]
    assert len(list((tmp_path / "cache" / "symmetries").iterdir())) == 1
    assert first.events("aligned") == second.events("aligned") != []


def test_what_alignment_cannot_free_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    odd = QUICK.replace("model.width=1", "model._target_=tests.peer.odd_network.Odd")
    run = run_app(tmp_path, 4, rounds=2, overrides=odd)
    notes = [event for event in run.events("note") if event["name"] == "warning"]
    assert {event["peer"] for event in notes} == {0, 1, 2, 3}
    assert {event["round"] for event in notes} == {1}, "once per run is enough"
    assert notes[0]["values"]["text"] in caplog.text


@pytest.mark.slow
def test_averaging_across_frames_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    quick(tmp_path / "a", rounds=0, final_merge="uniform")
    assert "expect a much worse model; final_merge=aligned aligns them first" in caplog.text
    caplog.clear()
    quick(tmp_path / "b", rounds=0, final_merge="aligned")
    assert "much worse" not in caplog.text


def test_whatever_keeps_a_peer_from_taking_part_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("dimat_flwr.peer.messages.check_setup", out_of_memory)
    with pytest.raises(SetupError, match="every peer: MemoryError"):
        quick(tmp_path)
