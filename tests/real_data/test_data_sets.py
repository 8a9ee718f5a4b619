"""Every data set runs from its files, with no change but the keys."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.in_process_app import run_app

DATA = os.environ.get("DIMAT_DATA")
SUBSET = "dataset.train_samples=120 dataset.test_samples=50 training.pretrain_epochs=1 training.local_epochs=1"


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="DIMAT_DATA names no folder with the data sets")
@pytest.mark.parametrize(
    ("dataset", "model", "folder", "pooling"),
    [
        ("cifar10", "resnet20", "cifar-10-batches-py", 1),
        ("cifar100", "resnet20", "cifar-100-python", 1),
        ("fashion_mnist", "resnet20", "FashionMNIST", 1),
        ("tiny_imagenet", "resnet18", "tiny-imagenet-200", 2),  # a network of 11 million parameters, on 32 x 32 pixels
    ],
)
def test_a_few_rounds_on_a_subset(tmp_path: Path, dataset: str, model: str, folder: str, pooling: int) -> None:
    if not (Path(str(DATA)) / folder).exists():
        pytest.skip(f"DIMAT_DATA has no {folder}")
    overrides = f"{SUBSET} dataset.pooling={pooling}"
    run = run_app(tmp_path, 2, dataset=dataset, model=model, data_dir=DATA, rounds=2, overrides=overrides)
    summary: dict[str, Any] = run.summary
    assert summary["status"] == "completed"
    assert run.events("failure") == run.events("rejected") == []
    assert [entry["round"] for entry in summary["rounds"]] == [0, 1, 2]
    assert 0 <= summary["final_accuracy"] <= 100
    # Different first weights, so most units have to move to line up.
    assert min(event["units_moved"] for event in run.events("aligned")) > 0.5
    assert (run.folder / "models" / "peer-1.safetensors").stat().st_size > 100_000
