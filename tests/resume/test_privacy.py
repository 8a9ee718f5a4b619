"""What private training has told of samples stays in the record of a run whose peers go back, whatever follows."""

import json
from pathlib import Path
from typing import Any

import pytest

from dimat_flwr.peer.account import Account
from tests.in_process_app import Run
from tests.resume.interrupted import PEERS, CutOffError, Unequal, cut_off, go_on, settings_of

pytestmark = pytest.mark.slow  # the accountant of private steps takes seconds to import
PRIVATE = (
    "model.batchnorm=false model.in_features=64 privacy.noise_multiplier=2 privacy.secret=always "
    "dataset.train_samples=80 dataset.test_samples=20 model.width=2"
)


def begun(tmp_path: Path, cut: int) -> Path:
    settings = settings_of(tmp_path / "begun", PRIVATE, dataset="digits", algorithm="weight_averaging", topology="ring")
    folder = cut_off(settings, 5, cut, True, tmp_path / "onto")
    assert folder is not None
    return folder


def events(folder: Path, kind: str, peer: int) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if (line["event"], line["peer"]) == (kind, peer)]


def steps_in_account(folder: Path, peer: int) -> int:
    account = Account(folder / "privacy", folder.name, peer, has_place=True)
    return sum(steps for _, _, steps in account.read())


def told(folder: Path, peer: int) -> list[int]:
    return [event["steps"] for event in events(folder, "privacy", peer)]


@pytest.mark.parametrize("left", [1, 0])
def test_who_goes_back_tells_of_what_it_had_spent_before_anybody_trains(left: int, tmp_path: Path) -> None:
    """Peer 1 loses its newest checkpoint, or all; the run is cut off again before it does anything more."""
    folder = begun(tmp_path, 2 * PEERS + 3 if left else 3)
    numbers = sorted(int(path.stem[-8:]) for path in (folder / "checkpoints").glob("peer-1-*.checkpoint"))
    assert len(numbers) > left, "it has done something"
    for number in numbers[left:]:
        (folder / "checkpoints" / f"peer-1-{number:08}.checkpoint").unlink()
    spent = steps_in_account(folder, 1)
    assert spent > 0
    with pytest.raises(CutOffError):
        go_on(folder, post=Unequal({}, 6, 0, False))
    assert events(folder, "resumed", 1)[-1]["after"] == max(numbers[:left], default=-1)
    assert max(told(folder, 1)) == spent
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["privacy"]["epsilon"] >= max(event["epsilon"] for event in events(folder, "privacy", 1))


def test_who_goes_on_from_its_newest_checkpoint_tells_nothing_twice(tmp_path: Path) -> None:
    folder = begun(tmp_path, 2 * PEERS + 1)
    before = [told(folder, peer) for peer in range(PEERS)]
    assert all(before)
    found: Run = go_on(folder)
    for peer in range(PEERS):
        steps = told(found.folder, peer)
        assert steps == sorted(set(steps))
        assert steps[: len(before[peer])] == before[peer]
        assert steps[-1] == steps_in_account(folder, peer)
