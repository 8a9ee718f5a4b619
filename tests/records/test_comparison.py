"""Several runs side by side, told apart by what differs in them."""

from datetime import datetime

import matplotlib.image
import pytest

from dimat_flwr.events import Evaluation, Final, Stamped
from dimat_flwr.records import RecordsError, RunFolder, compare

pytestmark = pytest.mark.usefixtures("undrawn")


def run(tmp_path, accuracy, stage="after_merge", final=True, **facts):
    folder = RunFolder.create(tmp_path, "run", datetime(2026, 1, 1))
    folder.describe({"algorithm": "dimat", "topology": "ring", "dataset": "digits", "peers": 2, "seed": 0, **facts})
    for number in (1, 2):
        for peer in (0, 1):
            folder.event(Stamped(Evaluation(stage, accuracy + number + peer), number, peer, "merge"))
    for peer in (0, 1):
        if final:
            folder.event(Stamped(Final(accuracy - peer), 2, peer, "merge"))
    folder.edge_bytes(1, "merge", 0, 1, 1_500_000)
    folder.finish("completed")
    return folder.path


def test_runs_are_named_by_what_differs_and_figures_are_those_of_the_saved_models(tmp_path):
    folders = [run(tmp_path, 90.0), run(tmp_path, 60.0, algorithm="gossip|x", seed=3)]
    table = compare(folders, tmp_path / "out.png").splitlines()
    assert len(table) == 4
    assert table[0].split("|")[1:4] == [" run                ", " final accuracy ", " of peers     "]
    cells = [[cell.strip() for cell in line.replace("\\|", "/").split("|")[1:-1]] for line in table[2:]]
    assert cells[0] == [
        "dimat · seed 0",
        "89.50 ± 0.50 %",
        "2 of 2 peers",
        "92.50 %",
        "2",
        "1.5 MB",
        "0:00",
        "completed",
    ]
    assert cells[1][:2] == ["gossip/x · seed 3", "59.50 ± 0.50 %"]
    assert matplotlib.image.imread(tmp_path / "out.png").std() > 0.01


def test_the_same_run_twice_is_told_apart_by_its_folder(tmp_path):
    folders = [run(tmp_path, 90.0), run(tmp_path, 80.0, final=False)]
    table = compare(folders, tmp_path / "out.png")
    assert "| 2026-01-01_000000-run   | 89.50 ± 0.50 % |" in table
    assert "| 2026-01-01_000000-run-2 | –              |" in table


@pytest.mark.parametrize("count", [1, 5])
def test_any_number_of_runs_of_any_kind_is_drawn(tmp_path, count):
    folders = [run(tmp_path, 50.0, "after_training", algorithm=f"a${k}_") for k in range(count)]
    assert compare(folders, tmp_path / "out.png").count("\n") == count + 2
    assert matplotlib.image.imread(tmp_path / "out.png").std() > 0.01


def test_nothing_and_no_run_are_refused(tmp_path):
    with pytest.raises(RecordsError, match="nothing to compare"):
        compare([], tmp_path / "out.png")
    with pytest.raises(RecordsError, match=r"summary\.json"):
        compare([tmp_path], tmp_path / "out.png")
    with pytest.raises(RecordsError, match="cannot write"):
        compare([run(tmp_path, 50.0)], tmp_path / "gone" / "out.png")
