"""From the words of a sweep to its cells."""

import pytest

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.sweeps import Definition, SweepError, expand, load_definition
from dimat_flwr.sweeps.definition import sweep_names


def overrides(grid):
    return [set(cell.overrides) for cell in grid.cells]


def test_cells_are_the_product_of_all_axes_in_hydras_grammar():
    definition = Definition("", {"algorithm": "dimat,sgp", "seed": "range(0,3)", "rounds": 4, "name": "'a,b'"})
    grid = expand(definition, ["+model.depth=choice(1,2)"])
    assert grid.axes == {"algorithm": ["dimat", "sgp"], "seed": [0, 1, 2], "+model.depth": [1, 2]}
    assert grid.fixed == {"peers": 5, "rounds": 4, "name": "a,b"}
    assert len(grid.cells) == 12
    assert grid.cells[0].values == {"algorithm": "dimat", "seed": 0, "+model.depth": 1, **grid.fixed}
    assert {"algorithm=sgp", "seed=2", "+model.depth=1", "rounds=4", "relay.peers=5"} < overrides(grid)[-2]


def test_peers_are_an_axis_under_either_name():
    grid = expand(Definition("", {"peers": "3,4"}), [])
    assert [(cell.peers, cell.overrides) for cell in grid.cells] == [(3, ("relay.peers=3",)), (4, ("relay.peers=4",))]
    assert [cell.peers for cell in expand(Definition("", {}), ["relay.peers=7"]).cells] == [7]


def test_a_scale_takes_the_place_of_the_grid_and_the_command_line_of_both():
    definition = Definition("", {"seed": "0,1", "rounds": 9}, {"full": {}, "small": {"rounds": 2, "model.width": 1}})
    assert expand(definition, []).fixed == {"peers": 5, "rounds": 9}
    assert expand(definition, ["scale=small"]).fixed == {"peers": 5, "rounds": 2, "model.width": 1}
    grid = expand(definition, ["rounds=3,5", "scale=small", "seed=7"])
    assert grid.axes == {"rounds": [3, 5]}
    assert grid.fixed["seed"] == 7


def test_conditions_change_the_cells_that_they_hold_for_and_no_other():
    definition = Definition(
        "",
        {"algorithm": "dimat,sgp", "partition": "iid,classes", "rounds": 2},
        when={"algorithm=sgp": {"rounds": 80}, "algorithm=sgp partition=classes": {"training.local_steps": 1}},
    )
    cells = {(c.values["algorithm"], c.values["partition"]): c.overrides for c in expand(definition, []).cells}
    assert [cells["dimat", p][3] for p in ("iid", "classes")] == ["rounds=2"] * 2
    assert "rounds=80" in cells["sgp", "iid"]
    assert cells["sgp", "classes"][-1] == "training.local_steps=1"
    assert "training.local_steps=1" not in cells["sgp", "iid"]
    # What cells differ in without being an axis is told of none of them.
    assert "rounds" not in expand(definition, []).fixed
    assert all("rounds=7" in cell for cell in overrides(expand(definition, ["rounds=7"])))


def test_an_axis_keeps_its_value_where_a_condition_gives_the_run_another():
    definition = Definition("", {"algorithm": "cdsgd,sgp"}, when={"algorithm=cdsgd": {"algorithm": "cdmsgd"}})
    for words in ([], ["algorithm=cdsgd,dimat"]):  # whoever narrows an axis gets the same cells
        first = expand(definition, words).cells[0]
        assert first.values["algorithm"] == "cdsgd"
        assert "algorithm=cdmsgd" in first.overrides
    assert "algorithm=cdmsgd" in expand(definition, ["algorithm=cdsgd"]).cells[0].overrides


def test_labels_reach_conditions_and_no_run():
    definition = Definition(
        "", {"compat": "fair,paper"}, labels=["compat"], when={"compat=paper": {"batchnorm.policy": "average"}}
    )
    fair, paper = expand(definition, []).cells
    assert fair.values["compat"] == "fair"
    assert fair.overrides == ("relay.peers=5",)
    assert paper.overrides == ("relay.peers=5", "batchnorm.policy=average")


def test_cells_that_are_skipped_are_not_there():
    definition = Definition("", {"topology": "ring,star", "seed": "0,1"}, skip=["topology=star seed=1"])
    assert len(expand(definition, []).cells) == 3
    with pytest.raises(SweepError, match="no cell is left"):
        expand(definition, ["topology=star", "seed=1"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["scale=huge"], "no scale 'huge'.*full"),
        (["seed"], "'seed' is not of the form"),
        (["seed=interval(0,1)"], "no values that can be counted"),
        (["seed=range(0,0)"], "names no value at all"),
        (["peers=1"], "not a number from 2 on"),
        (["peers=many"], "not a number from 2 on"),
    ],
)
def test_words_that_mean_nothing_are_refused(words, told):
    with pytest.raises(SweepError, match=told):
        expand(Definition("", {"seed": 0}), words)


def test_a_condition_on_what_the_grid_does_not_say_is_refused():
    with pytest.raises(SweepError, match="asks for algoritm"):
        expand(Definition("", {"algorithm": "dimat"}, when={"algoritm=dimat": {"rounds": 1}}), [])
    with pytest.raises(SweepError, match="names several values"):
        expand(Definition("", {"seed": 0}, when={"seed=0": {"rounds": "1,2"}}), [])


@pytest.mark.slow
@pytest.mark.parametrize("name", sweep_names(find_conf_dir()))
def test_every_sweep_has_cells_at_every_scale_and_the_paper_talks_of_some(name):
    definition = load_definition(name, find_conf_dir())
    for scale in definition.scales:
        grid = expand(definition, [f"scale={scale}"])
        assert grid.cells
        if scale == "full":
            for told in definition.paper:
                assert any(told.values.items() <= cell.values.items() for cell in grid.cells), told
                assert (told.metric is None) == (told.value is None) != (told.text is None)


def test_an_unknown_sweep_and_a_broken_one_are_told(tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "odd.yaml").write_text("title: x\ngrid: {}\nwhenn: {}\n")
    with pytest.raises(SweepError, match="no sweep 'table9'; there are: odd"):
        load_definition("table9", tmp_path)
    with pytest.raises(SweepError, match=r"odd\.yaml: whenn"):
        load_definition("odd", tmp_path)


WRONG = [
    ("grid: {seed: [0, 1]}", r"grid\.seed: is a list or mapping; several values are written as one text, 'a,b,c'"),
    ('grid: {seed: "0,1"', "is no YAML: .*flow mapping"),
    ("defaults: [nope]\ngrid: {}", "Could not load 'nope'"),
    ("grid: {}\nneeds_gpu: [big]", "needs_gpu names big, of which the sweep has none; it has full"),
    ("grid: {}\npaper: [{values: {}, source: x, metric: final_acuracy, value: 1.0}]", "names final_acuracy"),
    ("grid: {}\nlabels: [compat]", "labels names compat"),
    (
        "grid: {seed: 0}\npaper: [{values: {algoritm: x}, text: a, source: b}]",
        "paper names algoritm.*has peers, seed",
    ),
    ("grid: {seed: 0}\npaper: [{values: {}, metric: final_accuracy, source: b}]", "a metric with its value, or a text"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_what_is_wrong_in_a_sweeps_file_is_told_in_a_line(tmp_path, text, said):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text(f"title: mine\n{text}\n")
    with pytest.raises(SweepError, match=f"^conf/sweep/mine.yaml.*{said}") as told:
        load_definition("mine", tmp_path)
    assert "\n" not in str(told.value)
