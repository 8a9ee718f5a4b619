"""Several runs side by side, told apart by what differs in them."""

from datetime import datetime

import matplotlib.image
import numpy as np
import pytest

from dimat_flwr.events import Evaluation, Final, Stamped
from dimat_flwr.records import RecordsError, RunFolder, compare, comparison
from dimat_flwr.records.figure import new_panels

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


def test_long_names_stand_below_the_curves_and_say_nothing_of_what_a_run_does_not_know(tmp_path, monkeypatch, recwarn):
    drawn = []
    monkeypatch.setattr(comparison, "new_panels", lambda *of: drawn.append(new_panels(*of)) or drawn[-1])
    folders = [
        run(tmp_path, 50.0 + k, experiment="quick" if k == 1 else None, rounds_planned=k, model=f"a_model_{k}" * 9)
        for k in range(9)
    ]
    table = compare([*folders, folders[0]], tmp_path / "out.png")
    assert "None" not in table
    assert f"{'a_model_1' * 9} · experiment quick · 1 rounds " in table
    assert table.count(folders[0].name) == 2, "only those that are told apart by nothing else"
    assert not recwarn.list
    (figure, (axes,)) = drawn[0]
    curves, legend, whole = axes.get_window_extent(), axes.get_legend().get_window_extent(), figure.bbox
    assert legend.y1 < curves.y0
    assert whole.x0 <= legend.x0 < legend.x1 <= whole.x1 + 1
    assert legend.y0 >= whole.y0 - 1
    assert curves.height > 2.5 * figure.dpi, "and leave the curves their room"


@pytest.mark.parametrize("count", [1, 5])
def test_any_number_of_runs_of_any_kind_is_drawn(tmp_path, count):
    folders = [run(tmp_path, 50.0, "after_training", algorithm=f"a${k}_") for k in range(count)]
    assert compare(folders, tmp_path / "out.png").count("\n") == count + 2
    assert matplotlib.image.imread(tmp_path / "out.png").std() > 0.01


def test_the_colours_are_apart_for_the_colour_blind():
    # Machado, Oliveira & Fernandes 2009: what protanopes and deuteranopes see. Distances are in CIE L*a*b*; 2.3 are
    # just noticed.
    seen = [
        np.eye(3),
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    ]
    to_xyz = np.array([[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8728]])  # over the white
    colours = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in comparison._COLOURS])
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    for matrix in seen:
        x, y, z = np.cbrt(np.clip(linear @ np.transpose(matrix), 0, 1) @ to_xyz.T).T
        lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
        distances = np.linalg.norm(lab[:, None] - lab, axis=2)[np.triu_indices(len(lab), 1)]
        assert distances.min() > 15


def test_nothing_and_no_run_are_refused(tmp_path):
    with pytest.raises(RecordsError, match="nothing to compare"):
        compare([], tmp_path / "out.png")
    with pytest.raises(RecordsError, match=r"summary\.json"):
        compare([tmp_path], tmp_path / "out.png")
    with pytest.raises(RecordsError, match="cannot write"):
        compare([run(tmp_path, 50.0)], tmp_path / "gone" / "out.png")


def test_accuracy_against_bytes_starts_where_something_was_sent_and_ends_at_the_total(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(comparison, "megabytes_axis", lambda axes: drawn.setdefault("axes", axes))
    folder = RunFolder.create(tmp_path, "run", datetime(2026, 1, 1))
    folder.describe({"algorithm": "dimat", "peers": 2})
    for number in (0, 1, 2):
        folder.event(Stamped(Evaluation("after_merge", 50.0 + number), number, 0, "merge"))
        if number:
            folder.edge_bytes(number, "merge", 0, 1, 1_500_000)
    folder.event(Stamped(Final(60.0), 2, 0, "merge"))
    folder.finish("completed")
    compare([folder.path], tmp_path / "out.png", against="bytes")
    line, diamond = drawn["axes"].lines
    assert line.get_xydata().tolist() == [[1.5, 51.0], [3.0, 52.0]]
    assert diamond.get_xydata().tolist() == [[3.0, 60.0]]


def test_every_value_of_a_fact_has_its_panel_and_a_run_looks_alike_in_all(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(comparison, "save", lambda figure, path: drawn.append(figure))
    folders = [
        run(tmp_path, accuracy, algorithm=algorithm, partition=partition)
        for accuracy, algorithm, partition in [
            (90.0, "dimat", "iid"),
            (60.0, "gossip", "iid"),
            (70.0, "gossip", "classes"),
        ]
    ]
    table = compare(folders, tmp_path / "out.png", panels="partition")
    assert "| gossip · partition classes | 69.50 ± 0.50 % |" in table
    iid, classes = drawn[0].axes
    assert (iid.get_title(), classes.get_title()) == ("partition iid", "partition classes")
    labels = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in (iid, classes)]
    assert labels == [["dimat: 89.50 ± 0.50 %", "gossip: 59.50 ± 0.50 %"], ["gossip: 69.50 ± 0.50 %"]]
    assert classes.lines[0].get_color() == iid.lines[2].get_color() != iid.lines[0].get_color()
    assert iid.get_ylim() == classes.get_ylim()
    with pytest.raises(RecordsError, match=r"do not say their 'model'.*choose another fact"):
        compare(folders, tmp_path / "out.png", panels="model")
