"""The real `flwr run` in simulation: a SuperLink of our own, Flower's own command, and the folder it leaves."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.e2e.processes import simulating_superlink
from tests.in_process_app import run_app

pytestmark = [pytest.mark.slow, pytest.mark.waits]
ROOT = Path(__file__).resolve().parents[2]
FEDERATION = "num-supernodes=5 client-resources-num-cpus={cpus}"


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with simulating_superlink(tmp_path_factory.mktemp("flower")) as environment:
        yield environment


def flwr_run(
    environment: dict[str, str], output: Path, *, cpus: int = 1, more: str = "", **run_config: Any
) -> tuple[str, Path | None]:
    """Run the app; return what Flower printed and the folder it named, None if it named none."""
    settings = {"output-dir": str(output), **run_config}
    quoted = " ".join(f"{key}={json.dumps(value)}" for key, value in settings.items())
    command = [
        "flwr",
        "run",
        str(ROOT),
        "--stream",
        "--federation-config",
        f"{FEDERATION.format(cpus=cpus)} {more}",
        "-c",
        quoted,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    printed = done.stdout + done.stderr
    named = re.findall(r"results: (\S+)", printed)
    if not named:
        # A stream may end before the last lines of a run have come to a slow SuperLink; those are kept there.
        (run_id,) = re.findall(r"started run (\d+)", printed)
        kept = ["flwr", "log", run_id, "--show"]
        printed += subprocess.run(kept, env=environment, capture_output=True, text=True, timeout=600, check=True).stdout
        named = re.findall(r"results: (\S+)", printed)
    return printed, Path(named[-1]) if named else None


def values(folder: Path) -> list[str]:
    """Return the lines of metrics.jsonl in a fixed order, without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return sorted(json.dumps({k: v for k, v in line.items() if k != "seconds"}, sort_keys=True) for line in lines)


@pytest.fixture(scope="module")
def dimat(flower: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    printed, folder = flwr_run(flower, tmp_path_factory.mktemp("dimat"))
    assert folder is not None, printed
    return printed, folder


def test_the_main_job_leaves_everything_it_promises(dimat: tuple[str, Path]) -> None:
    printed, folder = dimat
    for name in ("config.yaml", "metrics.jsonl", "summary.json", "messages.csv", "accuracy.png", "topology.png"):
        assert (folder / name).stat().st_size > 0, name
    models = sorted(path.name for path in (folder / "models").iterdir())
    assert models == [f"peer-{i}.safetensors" for i in range(5)]
    assert all(tensor.isfinite().all() for tensor in load_file(folder / "models" / "peer-0.safetensors").values())
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "completed"
    assert summary["spectral_gap"] == pytest.approx(1 - (1 + 2 * 0.30901699) / 3)
    assert "flwr run . --stream" in (folder / "config.yaml").read_text()
    assert len((folder / "messages.csv").read_text().splitlines()) == 1 + 10 * 10
    assert re.search(r"round 10/10 .*after merge", printed)
    # The headline is that of the saved models, and the run ends well.
    assert summary["final_accuracy"] == summary["rounds"][10]["accuracy_after_merge"] >= 97.5
    trained = [entry["accuracy_after_training"] for entry in summary["rounds"][5:10]]
    assert min(trained) >= 96, "local training does not undo what merging gained"


def test_dimat_merges_where_weight_averaging_does_not_and_both_get_there(
    dimat: tuple[str, Path], tmp_path: Path
) -> None:
    averaging = run_app(tmp_path, 5, algorithm="weight_averaging", rounds=5).folder  # as with Flower: see below
    by_round = {
        name: json.loads((folder / "summary.json").read_text())["rounds"]
        for name, folder in (("dimat", dimat[1]), ("averaging", averaging))
    }
    assert by_round["dimat"][1]["accuracy_after_merge"] >= 90
    assert by_round["averaging"][1]["accuracy_after_merge"] <= 60
    for name, last in (("dimat", 10), ("averaging", 5)):
        assert by_round[name][last]["round"] == last
        assert by_round[name][last]["accuracy_after_merge"] >= 96


def test_the_same_seed_gives_the_same_values_whoever_ran_the_peers(flower: dict[str, str], tmp_path: Path) -> None:
    """One worker for all, one for each, and no Ray at all: the same lines, the same models to the last bit.

    With one for all, payloads are sealed on top of it: all that changes is that every peer says that it made keys up.
    """
    short = "training.pretrain_epochs=3 training.local_epochs=1 dataset.train_samples=500"
    settings: dict[str, Any] = {"algorithm": "dimat", "rounds": 3, "overrides": short}
    local = values(run_app(tmp_path / "local", 5, **settings).folder)
    assert sum('"event": "merge"' in line for line in local) == 15
    printed, folder = flwr_run(flower, tmp_path / "five", more="init-args-num-cpus=5", **settings)
    assert folder is not None, printed
    assert values(folder) == local

    settings["overrides"] = f"{short} security.sign=true security.seal=true"
    printed, folder = flwr_run(flower, tmp_path / "one", cpus=2, **settings)
    assert folder is not None, printed
    assert json.loads((folder / "summary.json").read_text())["status"] == "completed"
    notes = [line for line in values(folder) if '"event": "note"' in line]
    assert len(notes) == 5
    assert [line for line in values(folder) if line not in notes] == local


def test_a_wrong_configuration_is_refused_before_anything_starts(flower: dict[str, str], tmp_path: Path) -> None:
    printed, folder = flwr_run(flower, tmp_path, algorithm="dimatt", topology="rings")
    assert folder is None
    assert "unknown algorithm 'dimatt' (did you mean 'dimat'?); allowed: aligned_averaging, cdmsgd, cdsgd" in printed
    assert "unknown topology 'rings'" in printed
    assert 'File "' not in printed  # no line of a traceback
    assert list(tmp_path.iterdir()) == []
