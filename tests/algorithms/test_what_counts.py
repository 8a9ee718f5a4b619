"""What is measured, saved and recorded is what the algorithm calls its model, and what was really mixed."""

from pathlib import Path

import pytest
import torch

from tests.in_process_app import run_app

SMALL = "dataset.train_samples=120 model.width=1 training.batch_size=20 training.local_steps=3 optimizer.lr=0.05"
TABLE = "training.pretrain_epochs=1 training.local_epochs=1"


def test_every_accuracy_and_file_is_of_what_the_algorithm_calls_its_model(tmp_path: Path, conf_dir: Path) -> None:
    run = run_app(
        tmp_path, 3, conf_dir=conf_dir, rounds=2, algorithm="toy_constant", dataset="breast_cancer", model="mlp",
        overrides=f"{TABLE} evaluate.save_models=true",
    )  # fmt: skip
    weights = [tensor for name, tensor in run.model(0).items() if name.endswith(("weight", "bias"))]
    assert weights
    assert not any(bool(tensor.any()) for tensor in weights), "the model that counts is all zeros"
    accuracies = {event["accuracy"] for event in run.events("evaluation") + run.events("final")}
    assert len(run.events("evaluation")) == 3 * 4  # at the start, after training in round 1, after merges 1 and 2
    assert len(accuracies) == 1, "one constant model has one accuracy, wherever it is measured"
    assert run.summary["final_accuracy"] == accuracies.pop()


def test_the_models_that_are_trained_are_others_than_the_one_that_counts(tmp_path: Path, conf_dir: Path) -> None:
    run = run_app(
        tmp_path, 3, conf_dir=conf_dir, rounds=1, algorithm="toy_constant", dataset="breast_cancer", model="mlp",
        overrides=TABLE,
    )  # fmt: skip
    losses = {event["loss"] for event in run.events("training")}
    assert len(losses) == 3, "each peer trains a network of its own"


@pytest.mark.parametrize("policy", ["recalibrate", "average", "keep"])
@pytest.mark.parametrize(
    "algorithm", ["cdsgd", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sgp", "weight_averaging"))]
)
def test_batchnorm_statistics_follow_the_data_under_every_policy(
    tmp_path: Path, conf_dir: Path, algorithm: str, policy: str
) -> None:
    overrides = f"{SMALL} training.pretrain_epochs=0 batchnorm.policy={policy}"
    run = run_app(tmp_path, 3, conf_dir=conf_dir, rounds=3, algorithm=algorithm, overrides=overrides)
    for peer in range(3):
        means = {name: tensor for name, tensor in run.model(peer).items() if name.endswith("running_mean")}
        assert means
        assert all(bool(mean.abs().max() > 1e-4) for mean in means.values()), "they start at 0"
        assert all(bool(torch.isfinite(mean).all()) for mean in means.values())


@pytest.mark.parametrize("algorithm", ["dimat", "weight_averaging", "cdsgd", "sgp"])
def test_every_algorithm_that_mixes_records_with_what_weights(tmp_path: Path, conf_dir: Path, algorithm: str) -> None:
    run = run_app(
        tmp_path, 4, conf_dir=conf_dir, rounds=2, algorithm=algorithm, dataset="breast_cancer", model="mlp",
        overrides=TABLE,
    )  # fmt: skip
    merges = run.events("merge")
    assert len(merges) == 4 * 2
    for merge in merges:
        i = merge["peer"]
        assert merge["sources"] == sorted({(i - 1) % 4, (i + 1) % 4})
        assert merge["weights"] == pytest.approx([1 / 3] * 3)
