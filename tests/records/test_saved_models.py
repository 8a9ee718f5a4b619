"""What a run ends with, found again from its files by `benchmarks/score.py`, which shares no code with the run."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from benchmarks import score
from tests.in_process_app import Run, run_app

TINY = "training.pretrain_epochs=1 training.local_epochs=1 dataset.train_samples=200 model.width=1"


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "dimat", "topology": "ring"},
        {"algorithm": "sgp", "topology": "exponential", "final_merge": "gossip"},
    ],
    ids=["dimat", "sgp, then gossip"],
)
def test_saved_models_have_the_reported_accuracy(tmp_path: Path, settings: dict[str, str]) -> None:
    run = run_app(tmp_path, 3, rounds=1, overrides=TINY, **settings)
    assert score.main(run.folder) == 0


def test_the_score_notices_other_models_and_other_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_app(tmp_path, 3, rounds=1, overrides=TINY, algorithm="weight_averaging")
    summary = (run.folder / "summary.json").read_text()

    def told(change: float) -> None:
        figures = json.loads(summary)
        figures["final"][1]["accuracy"] += change
        (run.folder / "summary.json").write_text(json.dumps(figures))

    told(0.02)
    assert score.main(run.folder) == 1
    told(0.0)
    assert score.main(run.folder) == 0
    _shift(run, peer=2)
    capsys.readouterr()
    assert score.main(run.folder) == 1
    assert "not the file reported" in capsys.readouterr().out


def test_what_cannot_be_scored_is_said(tmp_path: Path) -> None:
    run = run_app(tmp_path, 2, rounds=1, overrides="training.pretrain_epochs=0", dataset="breast_cancer", model="mlp")
    assert score.main(run.folder) == 2


def _shift(run: Run, peer: int) -> None:
    """Change a saved model a little, and only where no accuracy shows it."""
    path = run.folder / "models" / f"peer-{peer}.safetensors"
    state = load_file(path)
    state["classifier.bias"] += 1
    save_file(state, path)
